"""A tile of the sum of matmul/gemm.py: rows x vectors of C, summed in registers.

The sum over r runs in order, in every tile of one part: all of these give the same bits. It begins with init where each
row has its own, and may so be continued from C itself (init = C). A row of init for all, as of biases, is added at the
end: to copy it to every register first takes 20 cycles.
"""

from itertools import pairwise
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.ir.lanes import Lanes
from fastbp.core.ir.memory import load_lanes, store_lanes
from fastbp.core.ir.types import INT64, Mask, Vector, constant, first_lanes, float_function, spread

GROUP = 4  # rows of S that one pointer serves


class Shape(NamedTuple):
    """What a tile is compiled for."""

    rows: int
    columns: int
    """Vectors in a row."""
    lanes: int
    full: bool
    """All vectors are whole; else the last is cut by a mask, so that a row has N lanes in all."""
    some: bool = False
    """Perhaps only M of the rows are there; then the last is made more than once: as quickly, as the sums of a few rows
    would wait for one another."""
    ones: bool = False
    """Row M of C is made, too, as if row M of S were of ones: M may be 0 then."""
    parts: int = 1
    """Every how manyth term goes to the same sum: where there are not enough sums to keep the units busy."""
    visit: str = "identity"
    """What becomes of a sum on its way to C: see `visitor`."""


def visitor(name):
    """(C, beside) -> what is stored: σ(C) for the name of a short σ, C σ' for the name and a prime, a being beside."""
    row = ACTIVATIONS[name.rstrip("'")]
    if name.endswith("'"):
        return lambda total, a: row.derivative(a, a) * total
    return lambda total, a: row.value(total)


def unrelated(builder, pointer):
    """The same pointer, of which LLVM does not know where it comes from.

    It would otherwise find each row's address by an addition to that of the row before: a chain as long as the loop.
    """
    same = ir.FunctionType(pointer.type, [pointer.type])
    return builder.asm(same, "", "=r,0", [pointer], side_effect=False)


def added(builder, values):
    """The sum of some vectors, by halves."""
    half = len(values) // 2
    return builder.fadd(added(builder, values[:half]), added(builder, values[half:])) if half else values[0]


class Code:
    """The instructions of a tile in the making."""

    def __init__(self, builder, shape, vector, M, N):
        self.builder, self.shape, self.vector = builder, shape, vector
        whole = Mask(vector.lanes, full=True), None
        last = whole
        if not shape.full:
            before = INT64((shape.columns - 1) * vector.lanes)
            last = Mask(vector.lanes), first_lanes(builder, builder.sub(N, before), vector.lanes)
        self.masks = [whole] * (shape.columns - 1) + [last]
        self.numbers = [INT64(m) for m in range(shape.rows)]
        if shape.some:
            last = self.larger(builder.sub(M, INT64(1)), INT64(0))
            self.numbers = [builder.select(builder.icmp_signed("<", m, last), m, last) for m in self.numbers]
        self.multiply_add = float_function(builder, "fmuladd", vector.llvm, 3)

    def larger(self, x, y):
        return self.builder.select(self.builder.icmp_signed(">", x, y), x, y)

    def step(self, pointer, count):
        return self.builder.gep(pointer, [count])

    def row(self, pointer, m, stride):
        return self.step(pointer, self.builder.mul(m, stride))

    def vectors_at(self, pointer):
        return [(self.step(pointer, INT64(n * self.vector.lanes)), *mask) for n, mask in enumerate(self.masks)]

    def load_row(self, pointer):
        return [load_lanes(self.builder, at, self.vector, *mask) for at, *mask in self.vectors_at(pointer)]

    def variables(self, values):
        return [cgutils.alloca_once_value(self.builder, value) for value in values]

    def begin(self, init, i_row, numbers):
        """The sums' variables of these rows, from their rows of init; zero if i_row is 0, where all have the same."""
        sums = self.zeros()
        with self.builder.if_then(self.builder.icmp_signed("!=", i_row, INT64(0))):
            for m, sums_m in zip(numbers, sums, strict=True):
                for sum_mn, value in zip(sums_m, self.load_row(self.row(init, m, i_row)), strict=True):
                    self.builder.store(value, sum_mn)
        return sums

    def zeros(self):
        zero, rows = constant(self.vector.llvm, 0.0), self.shape.rows + self.shape.ones
        return [self.variables([zero] * self.shape.columns) for _ in range(rows)]

    def add_products(self, sums, R, S, s_row, s_sum, V, v_row):
        """Adds the terms to the sums, each to those of the next part: sums[part][m][n]."""
        builder, numbers = self.builder, self.numbers
        groups = range(0, len(numbers), GROUP)
        s_at, v_at = self.variables(self.row(S, numbers[m], s_row) for m in groups), self.variables([V])[0]
        within = [builder.mul(builder.sub(numbers[m], numbers[m // GROUP * GROUP]), s_row) for m in range(len(numbers))]

        def add_term(sums):
            v = builder.load(v_at)
            builder.store(self.step(v, v_row), v_at)
            v_row_n = self.load_row(v)
            for m in range(len(numbers)):
                if m % GROUP == 0:
                    s = unrelated(builder, builder.load(s_at[m // GROUP]))
                    builder.store(self.step(s, s_sum), s_at[m // GROUP])
                s_m = spread(builder, builder.load(self.step(s, within[m])), self.vector.lanes)
                for sum_mn, v_n in zip(sums[m], v_row_n, strict=True):
                    builder.store(builder.call(self.multiply_add, [s_m, v_n, builder.load(sum_mn)]), sum_mn)
            for sums_m in sums[len(numbers) :]:  # of ones
                for sum_mn, v_n in zip(sums_m, v_row_n, strict=True):
                    builder.store(builder.fadd(builder.load(sum_mn), v_n), sum_mn)

        parts = INT64(len(sums))
        with cgutils.for_range(builder, builder.sdiv(R, parts)):
            for part in sums:
                add_term(part)
        if len(sums) > 1:
            with cgutils.for_range(builder, builder.srem(R, parts)):
                add_term(sums[0])

    def end(self, sums, C, c_row, beside, init, i_row, numbers):
        """Overwrites these rows of C by what the visitor makes of the sums of all parts, and of init if i_row is 0."""
        builder, visit, a = self.builder, visitor(self.shape.visit), None
        start = self.variables([constant(self.vector.llvm, -0.0)] * self.shape.columns)  # x + -0 is x, of each x
        with builder.if_then(builder.icmp_signed("==", i_row, INT64(0))):
            for value, at in zip(self.load_row(init), start, strict=True):
                builder.store(value, at)

        for m, parts in zip(numbers, zip(*sums, strict=True), strict=True):
            for n, (at, *mask) in enumerate(self.vectors_at(self.row(C, m, c_row))):
                value = builder.fadd(builder.load(start[n]), added(builder, [builder.load(part[n]) for part in parts]))
                if self.shape.visit.endswith("'"):
                    a = Lanes(builder, load_lanes(builder, self.step(at, beside), self.vector, *mask))
                store_lanes(builder, at, self.vector, visit(Lanes(builder, value), a).value, *mask)


def emit_tile(builder, shape, number, args):
    """The instructions of a tile of such numbers."""
    C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R = args
    code = Code(builder, shape, Vector(number, shape.lanes), M, N)
    numbers = code.numbers + [M] * shape.ones
    sums = [code.begin(init, i_row, numbers), *(code.zeros() for _ in range(1, shape.parts))]
    code.add_products(sums, R, S, s_row, s_sum, V, v_row)
    code.end(sums, C, c_row, beside, init, i_row, numbers)


def emit_rows(builder, shape, number, args, fewest, even):
    """Tiles while there are `fewest` rows, but not for more than fit in one and at most `even`; returns args for what
    is left.
    """
    C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R = args
    rows, moving = INT64(shape.rows), (C, init, S, M)
    slots = [cgutils.alloca_once_value(builder, value) for value in moving]
    check, body, end = (builder.append_basic_block() for _ in range(3))
    builder.branch(check)
    builder.position_at_end(check)
    C, init, S, M = (builder.load(slot) for slot in slots)
    is_one = builder.icmp_signed("<=", M, rows)
    fits = builder.or_(is_one, builder.icmp_signed(">", M, INT64(even)))
    builder.cbranch(builder.and_(builder.icmp_signed(">=", M, INT64(fewest)), fits), body, end)
    builder.position_at_end(body)
    emit_tile(builder, shape, number, (C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R))
    for slot, pointer, stride in zip(slots, (C, init, S), (c_row, i_row, s_row), strict=False):
        builder.store(builder.gep(pointer, [builder.mul(rows, stride)]), slot)
    builder.store(builder.sub(M, rows), slots[3])
    builder.branch(check)
    builder.position_at_end(end)
    return C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R


def compiled(emit):
    """emit(builder, type of a number, args) as a function of compiled code with a panel's arguments."""

    @intrinsic
    def function(typingctx, C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        def codegen(context, builder, sig, args):
            emit(builder, C.dtype, args)
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(C, i64, i64, init, i64, S, i64, i64, V, i64, i64, i64, i64), codegen

    return function


def tile_of(shape):
    """The tile of a Shape, as a function of compiled code.

    Overwrites shape.rows rows of C: C[m, n] = visit(init[m, n] + Σ_r S[m, r] V[r, n]); `beside` is the distance from
    C's elements to what else its visitor reads.
    """
    return compiled(lambda builder, number, args: emit_tile(builder, shape, number, args))


def tiles_of(shape, heights):
    """All M rows by tiles of these heights, the tallest first and in the end 1, as a function of compiled code.

    A tile makes fewer rows than its own where the next one would take as long. Twice as many rows as the next one has
    are left to it: two of these load V as often as this one and another one for what it leaves.
    """

    def emit(builder, number, args):
        for height, lower in pairwise((*heights, 0)):
            # a single row takes as long as some: its sums wait for one another
            fewest = (height - 1) // lower * lower + 1 if lower > 1 else lower + 1
            tile = shape._replace(rows=height, some=fewest < height)
            args = emit_rows(builder, tile, number, args, fewest, 2 * lower)

    return compiled(emit)
