"""The sum of dense.py for a few outputs of a few inputs: a vector holds the sums of several rows of C, side by side.

Rows of S are loaded whole and turned in blocks, so that each term's element of all these rows is at hand. The sums run
in the same order as those of a panel, and give the same bits.
"""

import functools

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .compile import kernel, lanes_of, wide_vectors
from .dense import panel_signature
from .memory import load_lanes, store_lanes
from .simd import INT32, INT64, Mask, Vector, float_function
from .tile import visitor
from .transpose import emit_transposed
from .values import Lanes

MOST_OUTPUTS, MOST_INPUTS = 4, 23


def fits(n_in, n_out, size):
    """Whether the kernel is made for so many inputs and outputs."""
    return n_out <= min(MOST_OUTPUTS, lanes_of(size) // 2) and n_in <= MOST_INPUTS


def picked(builder, vector, lanes):
    """These lanes of a vector."""
    take = ir.Constant(ir.VectorType(INT32, len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), take)


class Code:
    """The instructions of the kernel in the making: C (rows, N) for R terms, `columns` lanes for a row's N."""

    def __init__(self, builder, number, n_lanes, N, R, visit):
        self.builder, self.N, self.R, self.lanes = builder, N, R, n_lanes
        self.columns = 1 << (N - 1).bit_length()
        self.rows = n_lanes // self.columns
        self.vector, self.row = Vector(number, n_lanes), Vector(number, self.columns)
        self.multiply_add = float_function(builder, "fmuladd", self.vector.llvm, 3)
        self.visit = visitor(visit)

    def masked(self, vector, count):
        """Mask type and mask of the first lanes of a vector."""
        if count >= vector.lanes:
            return Mask(vector.lanes, full=True), None
        mask = Mask(vector.lanes)
        return mask, ir.Constant(mask.llvm, [int(i < count) for i in range(vector.lanes)])

    def repeated(self, pointer):
        """A row of N numbers, once for each row of C."""
        row = load_lanes(self.builder, pointer, self.row, *self.masked(self.row, self.N))
        return picked(self.builder, row, [i % self.columns for i in range(self.lanes)])

    def rows_of(self, pointer, stride, last):
        """Pointers to the rows; from the last one on, which is a number or None, to that again."""
        for m in map(INT64, range(self.rows)):
            if last is not None:
                m = self.builder.select(self.builder.icmp_signed("<", m, last), m, last)
            yield self.builder.gep(pointer, [self.builder.mul(m, stride)])

    def add_products(self, total, s_rows, terms):
        """total[m, n] + Σ_r S[m, r] V[r, n], V's rows being repeated."""
        for begin in range(0, self.R, self.lanes):
            mask = self.masked(self.vector, self.R - begin)
            rows = [load_lanes(self.builder, self.builder.gep(s, [INT64(begin)]), self.vector, *mask) for s in s_rows]
            blocks = emit_transposed(self.builder, rows, self.columns)
            for r, term in enumerate(terms[begin : begin + self.lanes]):
                which = [lane // self.columns * self.columns + r % self.columns for lane in range(self.lanes)]
                s = picked(self.builder, blocks[r // self.columns], which)
                total = self.builder.call(self.multiply_add, [s, term, total])
        return total

    def store_rows(self, total, c_rows):
        total = self.visit(Lanes(self.builder, total), None).value
        for m, at in enumerate(c_rows):
            row = picked(self.builder, total, range(m * self.columns, (m + 1) * self.columns))
            store_lanes(self.builder, at, self.row, row, *self.masked(self.row, self.N))


def all_rows(N, R, n_lanes, visit):
    """The loop over all rows of C, as a function of compiled code."""

    @intrinsic
    def loop(typingctx, C, c_row, init, S, s_row, V, v_row, M):
        def codegen(context, builder, sig, args):
            C, c_row, init, S, s_row, V, v_row, M = args
            code = Code(builder, sig.args[0].dtype, n_lanes, N, R, visit)
            terms = [code.repeated(builder.gep(V, [builder.mul(INT64(r), v_row)])) for r in range(R)]
            start, rows = code.repeated(init), INT64(code.rows)

            def some_rows(m, last):
                s, c = builder.gep(S, [builder.mul(m, s_row)]), builder.gep(C, [builder.mul(m, c_row)])
                total = code.add_products(start, list(code.rows_of(s, s_row, last)), terms)
                code.store_rows(total, code.rows_of(c, c_row, last))

            whole = builder.sub(M, builder.srem(M, rows))
            with cgutils.for_range_slice(builder, INT64(0), whole, rows, inc=True) as (m, _):
                some_rows(m, None)
            with builder.if_then(builder.icmp_signed("<", whole, M)):
                some_rows(whole, builder.sub(builder.sub(M, whole), INT64(1)))
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(C, i64, init, S, i64, V, i64, i64), codegen

    return loop


@functools.cache
def narrow_panel(size, n_in, n_out, visit="identity"):
    """As `dense.panel`, for R = n_in and N = n_out, where i_row = 0 and s_sum = 1."""
    loop = all_rows(n_out, n_in, lanes_of(size), visit)

    @kernel(panel_signature(size), size, n_in, n_out, visit)
    def narrow_panel(C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        loop(C, c_row, init, S, s_row, V, v_row, M)

    return narrow_panel
