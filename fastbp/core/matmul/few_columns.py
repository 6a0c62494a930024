"""The sum of matmul/gemm.py for a few outputs: a vector holds the sums of several rows of C, side by side.

Of up to half a vector of terms, each is repeated for the outputs of its row. Of more, the lanes of a vector go over the
terms, and each lane over the outputs in turn: with c columns, the power of 2 that has room for the outputs, a row takes
c products

    P_k = Σ_r S_r V[r, (r + k) mod c],      k = 0 … c - 1,

in whose lane r are terms of the output (r + k) mod c. No element of S is moved and no lane is empty. The lanes of an
output are added up at the end, by halves, together with those of the next rows. All rows have the same bits, whatever
their number.
"""

import functools

from numba.core import cgutils, types
from numba.extending import intrinsic

from fastbp.core.ir.kernel import kernel, lanes_of, wide_vectors
from fastbp.core.ir.lanes import Lanes
from fastbp.core.ir.memory import load_lanes
from fastbp.core.ir.packed_rows import Abreast, columns_of
from fastbp.core.ir.types import INT64, constant, float_function
from fastbp.core.matmul.few_rows import emit_sums
from fastbp.core.matmul.gemm import panel_signature
from fastbp.core.matmul.microkernel import epilogue_of, sum_by_halves
from fastbp.core.matmul.transpose import emit_transposed

MOST_OUTPUTS = 8  # with more, the lanes of an ordinary panel are full enough
UNROLLED = 4
"""Vectors of terms that are not a loop."""
MADE_ANEW = 2
"""Columns up to which the diagonals of V are made again for the next rows; of more they are kept on the stack."""
MOST_KEPT = 40 * 1024  # bytes of them, beside which the rows still find room in the first cache


def fits(n_in, n_out, size):
    """Whether the kernel is made for a layer."""
    columns = columns_of(n_out)
    kept = n_in * columns * size if columns > MADE_ANEW else 0
    return n_out <= min(MOST_OUTPUTS, lanes_of(size) // 2) and kept <= MOST_KEPT


class Sums:
    """The sums of some rows of C abreast, as instructions in the making."""

    def __init__(self, builder, number, lanes, n_in, n_out, init, V):
        self.builder, self.lanes, self.n_in, self.n_out, self.V = builder, lanes, n_in, n_out, V
        self.abreast = Abreast(builder, number, lanes, n_out)
        self.vector, self.columns = self.abreast.vector, self.abreast.columns
        self.start, self.zero = self.abreast.repeated(init), constant(self.vector.llvm, 0.0)
        self.multiply_add = float_function(builder, "fmuladd", self.vector.llvm, 3)

    def step(self, pointer, count):
        return self.builder.gep(pointer, [count])

    def load(self, pointer, count):
        """The first `count` numbers at the pointer, then zeros."""
        return load_lanes(self.builder, pointer, self.vector, *self.abreast.masked(self.vector, count))


class Repeated(Sums):
    """Of at most half a vector of terms."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        rows = (self.step(self.V, INT64(r * self.n_out)) for r in range(self.n_in))
        self.terms = [self.abreast.repeated(row) for row in rows]

    def of(self, s_rows):
        """init + Σ_r S_r V_r, of the rows at these pointers."""
        c, total = self.columns, self.start
        blocks = emit_transposed(self.builder, [self.load(s, self.n_in) for s in s_rows], c)
        for r, term in enumerate(self.terms):
            s = self.abreast.picked(blocks[r // c], [i // c * c + r % c for i in range(self.lanes)])
            total = self.builder.call(self.multiply_add, [s, term, total])
        return total


class Diagonals(Sums):
    """Of any number of terms."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        rows, self.kept = range(self.abreast.rows), None
        self.products = [[self.room(1) for _ in range(self.columns)] for _ in rows]
        if self.columns > MADE_ANEW:
            self.kept = self.room(-(-self.n_in // self.lanes) * self.columns)
            self.each_vector(self.keep)

    def room(self, vectors):
        return cgutils.alloca_once(self.builder, self.vector.llvm, size=vectors)

    def each_vector(self, function):
        """Calls function(first term, terms) for all vectors of terms."""
        n_in, lanes = self.n_in, self.lanes
        whole = n_in // lanes * lanes
        if n_in <= UNROLLED * lanes:
            for r in range(0, whole, lanes):
                function(INT64(r), lanes)
        else:
            with cgutils.for_range_slice(self.builder, INT64(0), INT64(whole), INT64(lanes), inc=True) as (r, _):
                function(r, lanes)
        if whole < n_in:
            function(INT64(whole), n_in - whole)

    def made(self, r, count):
        """V[r + i, (i + k) mod c] in lane i < count of vector k, from rows without gaps."""
        lanes, n_out, V = self.lanes, self.n_out, self.step(self.V, self.builder.mul(r, INT64(self.n_out)))
        starts = range(0, count * n_out, lanes)
        weights = [self.load(self.step(V, INT64(at)), count * n_out - at) for at in starts]
        for k in range(self.columns):
            outputs = [(i + k) % self.columns for i in range(lanes)]
            wanted = [i * n_out + j if i < count and j < n_out else -1 for i, j in enumerate(outputs)]
            diagonal = self.zero
            for start, vector in zip(starts, weights, strict=True):
                take = [lanes + at - start if 0 <= at - start < lanes else i for i, at in enumerate(wanted)]
                diagonal = self.abreast.picked(diagonal, take, vector)
            yield diagonal

    def places(self, r):
        """Where the diagonals from term r on are kept."""
        first = self.builder.mul(self.builder.sdiv(r, INT64(self.lanes)), INT64(self.columns))
        return [self.step(self.kept, self.builder.add(first, INT64(k))) for k in range(self.columns)]

    def keep(self, r, count):
        for diagonal, at in zip(self.made(r, count), self.places(r), strict=True):
            self.builder.store(diagonal, at)

    def of(self, s_rows):
        """init + Σ_r S_r V_r, of the rows at these pointers."""
        builder, s_rows = self.builder, list(s_rows)
        for row in self.products:
            for product in row:
                builder.store(self.zero, product)

        def add(r, count):
            diagonals = list(map(builder.load, self.places(r)) if self.kept is not None else self.made(r, count))
            for s_row, row in zip(s_rows, self.products, strict=True):
                s = self.load(self.step(s_row, r), count)
                for product, diagonal in zip(row, diagonals, strict=True):
                    builder.store(builder.call(self.multiply_add, [s, diagonal, builder.load(product)]), product)

        self.each_vector(add)
        totals = [self.total(row) for row in self.products]
        return builder.fadd(self.start, emit_sums(builder, totals, self.columns))

    def total(self, row):
        """The products of a row, each output in lanes of its own."""
        c, parts = self.columns, []
        for k, product in enumerate(row):
            turned = [i // c * c + (i - k) % c for i in range(self.lanes)]
            parts.append(self.abreast.picked(self.builder.load(product), turned))
        return sum_by_halves([Lanes(self.builder, part) for part in parts]).value


def all_rows(n_in, n_out, lanes, epilogue):
    """The loop over all rows of C, as a function of compiled code."""
    kind = Repeated if 2 * n_in <= lanes else Diagonals

    @intrinsic
    def loop(typingctx, C, c_row, init, S, s_row, V, M):
        def codegen(context, builder, sig, args):
            C, c_row, init, S, s_row, V, M = args
            sums = kind(builder, sig.args[0].dtype, lanes, n_in, n_out, init, V)

            def some_rows(m, last):
                s, c = sums.step(S, builder.mul(m, s_row)), sums.step(C, builder.mul(m, c_row))
                value = Lanes(builder, sums.of(sums.abreast.pointers(s, s_row, last)))
                sums.abreast.store(epilogue_of(epilogue)(value, None).value, sums.abreast.pointers(c, c_row, last))

            sums.abreast.each(M, some_rows)
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(C, i64, init, S, i64, V, i64), codegen

    return loop


@functools.cache
def narrow_panel(size, n_in, n_out, epilogue="identity"):
    """As `dense.panel`, for R = n_in and N = n_out, where i_row = 0, s_sum = 1 and V has no gaps."""
    loop = all_rows(n_in, n_out, lanes_of(size), epilogue)

    @kernel(panel_signature(size), size, n_in, n_out, epilogue)
    def narrow_panel(C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        loop(C, c_row, init, S, s_row, V, M)

    return narrow_panel
