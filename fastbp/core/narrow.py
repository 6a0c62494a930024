"""The sum of dense.py for a few outputs: with its lanes over the terms, and every output in turn in each lane.

With c columns, the power of 2 that has room for the outputs, a row S_r of terms takes c products of whole vectors,

    P_k = Σ_r S_r V[r, (r + k) mod c],      k = 0 … c - 1,

in whose lane r are terms of the output (r + k) mod c. S needs no shuffle, and no lane is empty. The lanes of an output
are added up at the end, by halves, together with those of the next rows. All rows have the same bits, whatever their
number.
"""

import functools

from numba.core import cgutils, types
from numba.extending import intrinsic

from .abreast import Abreast, columns_of
from .compile import kernel, lanes_of, wide_vectors
from .dense import panel_signature
from .dots import emit_sums
from .memory import load_lanes
from .simd import INT64, constant, float_function
from .tile import visitor
from .values import Lanes

MOST_OUTPUTS = 8
UNROLLED = 4
"""Vectors of terms that are not a loop."""
MADE_ANEW = 2
"""Columns up to which what is made of V is made for each vector of rows; of more it is kept on the stack."""
MOST_KEPT = 32 * 1024  # bytes


def fits(n_in, n_out, size):
    """Whether the kernel is made for a layer: for fewer inputs than outputs it would be slower than a panel."""
    columns = columns_of(n_out)
    small = columns <= MADE_ANEW or n_in * columns * size <= MOST_KEPT
    return n_out <= min(MOST_OUTPUTS, lanes_of(size) // 2, n_in) and small


class Sums:
    """Those of some rows abreast, as instructions in the making."""

    def __init__(self, builder, number, lanes, n_out):
        self.builder, self.n_out = builder, n_out
        self.abreast = Abreast(builder, number, lanes, n_out)
        self.vector, self.lanes, self.columns = self.abreast.vector, lanes, self.abreast.columns
        self.zero = constant(self.vector.llvm, 0.0)
        self.multiply_add = float_function(builder, "fmuladd", self.vector.llvm, 3)

    def load(self, pointer, count):
        """The first `count` numbers at the pointer, then zeros."""
        return load_lanes(self.builder, pointer, self.vector, *self.abreast.masked(self.vector, count))

    def diagonals(self, V, count):
        """V[r, (r + k) mod c] in lane r < count of vector k, from rows without gaps."""
        lanes, n_out, builder = self.lanes, self.n_out, self.builder
        starts = range(0, count * n_out, lanes)
        weights = [self.load(builder.gep(V, [INT64(at)]), count * n_out - at) for at in starts]
        for k in range(self.columns):
            wanted = [r * n_out + (r + k) % self.columns for r in range(lanes)]
            wanted = [at if (r + k) % self.columns < n_out and r < count else -1 for r, at in enumerate(wanted)]
            diagonal = self.zero
            for start, vector in zip(starts, weights, strict=True):
                take = [lanes + at - start if 0 <= at - start < lanes else r for r, at in enumerate(wanted)]
                if take != list(range(lanes)):
                    diagonal = self.abreast.picked(diagonal, take, vector)
            yield diagonal

    def begin(self):
        """The products of each row."""
        rows = range(self.abreast.rows)
        return [[cgutils.alloca_once(self.builder, self.vector.llvm) for _ in range(self.columns)] for _ in rows]

    def clear(self, products):
        for row in products:
            for product in row:
                self.builder.store(self.zero, product)

    def add(self, products, s_rows, count, diagonals):
        """Adds the next terms of each row."""
        diagonals = list(diagonals)
        for s_row, row in zip(s_rows, products, strict=True):
            s = self.load(s_row, count)
            for product, diagonal in zip(row, diagonals, strict=True):
                value = self.builder.call(self.multiply_add, [s, diagonal, self.builder.load(product)])
                self.builder.store(value, product)

    def end(self, products):
        """The rows' sums, abreast."""
        return emit_sums(self.builder, [self.total(row) for row in products], self.columns)

    def total(self, row):
        """The products of a row, each output in lanes of its own."""
        c, parts = self.columns, []
        for k, product in enumerate(row):
            turned = [r // c * c + (r - k) % c for r in range(self.lanes)]
            parts.append(self.abreast.picked(self.builder.load(product), turned))
        while len(parts) > 1:
            parts = [self.builder.fadd(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]


def all_rows(n_out, n_in, lanes, visit):
    """The loop over all rows of C, as a function of compiled code."""
    whole = n_in // lanes * lanes

    @intrinsic
    def loop(typingctx, C, c_row, init, S, s_row, V, M):
        def codegen(context, builder, sig, args):
            C, c_row, init, S, s_row, V, M = args
            sums = Sums(builder, sig.args[0].dtype, lanes, n_out)
            abreast, products = sums.abreast, sums.begin()
            start = abreast.repeated(init)

            def each_vector(function):
                """Calls function(first term, terms) for all vectors of terms."""
                if n_in <= UNROLLED * lanes:
                    for r in range(0, whole, lanes):
                        function(INT64(r), lanes)
                else:
                    with cgutils.for_range_slice(builder, INT64(0), INT64(whole), INT64(lanes), inc=True) as (r, _):
                        function(r, lanes)
                if whole < n_in:
                    function(INT64(whole), n_in - whole)

            def made(r, count):
                return sums.diagonals(builder.gep(V, [builder.mul(r, INT64(n_out))]), count)

            def places(r):
                first = builder.mul(r, INT64(sums.columns))
                return [builder.gep(kept, [builder.add(first, INT64(k * lanes))]) for k in range(sums.columns)]

            def keep(r, count):
                for diagonal, at in zip(made(r, count), places(r), strict=True):
                    builder.store(diagonal, builder.bitcast(at, vector_pointer)).align = 64

            vector_pointer = sums.vector.llvm.as_pointer()
            if sums.columns > MADE_ANEW:
                size = (whole + lanes) * sums.columns
                kept = cgutils.alloca_once(builder, sums.vector.llvm.element, size=size)
                kept.align = 64
                each_vector(keep)

            def some_rows(m, last):
                s, c = builder.gep(S, [builder.mul(m, s_row)]), builder.gep(C, [builder.mul(m, c_row)])
                s_rows = list(abreast.pointers(s, s_row, last))
                sums.clear(products)

                def add(r, count):
                    diagonals = (
                        [sums.load(at, lanes) for at in places(r)] if sums.columns > MADE_ANEW else made(r, count)
                    )
                    sums.add(products, [builder.gep(row, [r]) for row in s_rows], count, diagonals)

                each_vector(add)
                value = Lanes(builder, builder.fadd(start, sums.end(products)))
                abreast.store(visitor(visit)(value, None).value, abreast.pointers(c, c_row, last))

            abreast.each(M, some_rows)
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(C, i64, init, S, i64, V, i64), codegen

    return loop


@functools.cache
def narrow_panel(size, n_in, n_out, visit="identity"):
    """As `dense.panel`, for R = n_in and N = n_out, where i_row = 0, s_sum = 1 and V has no gaps."""
    loop = all_rows(n_out, n_in, lanes_of(size), visit)

    @kernel(panel_signature(size), size, n_in, n_out, visit)
    def narrow_panel(C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        loop(C, c_row, init, S, s_row, V, M)

    return narrow_panel
