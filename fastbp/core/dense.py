"""The three sums of a fully-connected layer, as one kernel: C[m, n] = init[m, n] + Σ_r S[m, r] V[r, n].

    forward           z_nj  = b_j + Σ_k a_nk w_jk      m = example, r = k, lanes = j, V = w; or a_nj = σ(z_nj)
    deltas            da_nk =       Σ_j dz_nj w_jk     m = example, r = j, lanes = k, V = w transposed
    weight gradients  dw_jk =       Σ_n a_nk dz_nj     m = k, r = example, lanes = j, V = dz

S is read element by element with two strides, so one kernel serves all three. The sum over r runs in order from
`init` in every tile: all tiles give the same bits, and a sum may be continued from C itself (init = C).
"""

import functools

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .activation_rows import ACTIVATIONS
from .compile import INT, INTEGERS, POINTERS, VOID, call, kernel, lanes_of, registers, wide_vectors
from .memory import load_lanes, shift, store_lanes
from .simd import Mask, Vector, first_lanes, float_function, spread
from .values import Lanes

GROUP = 4  # rows of S that one pointer serves

# Rows of the two register tiles, by number of SIMD registers and of vectors in a row of the tile. Those of the tall
# one, rows x vectors, the vectors of V and one element of S fill the registers; the other has sums enough for two
# units that take four cycles.
TILES = {
    32: {1: (24, 8), 2: (12, 4), 3: (8, 3), 4: (6, 2)},
    16: {1: (12, 8), 2: (6, 4), 3: (4, 3)},
}


def unrelated(builder, pointer):
    """The same pointer, of which LLVM does not know where it comes from.

    It would otherwise find each row's address by an addition to that of the row before: a chain as long as the loop.
    """
    same = ir.FunctionType(pointer.type, [pointer.type])
    return builder.asm(same, "", "=r,0", [pointer], side_effect=False)


@intrinsic(prefer_literal=True)
def tile(typingctx, C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, N, R, rows, some, columns, lanes, full, sigma):
    """Overwrites `rows` rows of C: C[m, n] = σ(init[m, n] + Σ_r S[m, r] V[r, n]), all sums held in registers.

    With `some`, perhaps only M of these rows are there; then the last is made more than once: as quickly, as the sums
    of a few rows would wait for one another. A row is `columns` vectors of `lanes`; unless `full`, the last is cut by a
    mask so that it has N lanes in all. sigma: the activation's name.
    """
    rows, some, columns = rows.literal_value, some.literal_value, columns.literal_value
    vector = Vector(C.dtype, lanes.literal_value)
    activated = ACTIVATIONS[sigma.literal_value].value

    def codegen(context, builder, sig, args):
        C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, N, R = args[:12]
        whole = Mask(vector.lanes, full=True), None
        last = whole
        if not full.literal_value:
            before = ir.IntType(64)((columns - 1) * vector.lanes)
            last = Mask(vector.lanes), first_lanes(builder, builder.sub(N, before), vector.lanes)
        masks = [whole] * (columns - 1) + [last]

        def step(pointer, count):
            return builder.gep(pointer, [count])

        def vectors_at(pointer):
            return [(step(pointer, ir.IntType(64)(n * vector.lanes)), *mask) for n, mask in enumerate(masks)]

        def load_row(pointer):
            return [load_lanes(builder, at, vector, *mask) for at, *mask in vectors_at(pointer)]

        numbers = [ir.IntType(64)(m) for m in range(rows)]
        if some:
            last = builder.sub(M, ir.IntType(64)(1))
            numbers = [builder.select(builder.icmp_signed("<", m, last), m, last) for m in numbers]

        def row(m, stride):
            return builder.mul(numbers[m], stride)

        sums = [[cgutils.alloca_once_value(builder, value) for value in load_row(init)] for _ in range(rows)]
        with builder.if_then(builder.icmp_signed("!=", i_row, ir.IntType(64)(0))):
            for m in range(rows):
                for sum_mn, value in zip(sums[m], load_row(step(init, row(m, i_row))), strict=True):
                    builder.store(value, sum_mn)
        groups = range(0, rows, GROUP)
        s_at = [cgutils.alloca_once_value(builder, step(S, row(m, s_row))) for m in groups]
        v_at = cgutils.alloca_once_value(builder, V)
        within = [builder.mul(builder.sub(numbers[m], numbers[m // GROUP * GROUP]), s_row) for m in range(rows)]
        multiply_add = float_function(builder, "fmuladd", vector.llvm, 3)

        with cgutils.for_range(builder, R):
            v = builder.load(v_at)
            builder.store(step(v, v_row), v_at)
            v_row_n = load_row(v)
            for m, sums_m in enumerate(sums):
                if m % GROUP == 0:
                    s = unrelated(builder, builder.load(s_at[m // GROUP]))
                    builder.store(step(s, s_sum), s_at[m // GROUP])
                s_m = spread(builder, builder.load(step(s, within[m])), vector.lanes)
                for sum_mn, v_n in zip(sums_m, v_row_n, strict=True):
                    builder.store(builder.call(multiply_add, [s_m, v_n, builder.load(sum_mn)]), sum_mn)

        for m, sums_m in enumerate(sums):
            for sum_mn, (at, *mask) in zip(sums_m, vectors_at(step(C, row(m, c_row))), strict=True):
                store_lanes(builder, at, vector, activated(Lanes(builder, builder.load(sum_mn))).value, *mask)
        return context.get_dummy_value()

    i64 = types.int64
    literals = [types.literal(number) for number in (rows, some, columns, vector.lanes)]
    return types.void(C, i64, init, i64, S, i64, i64, V, i64, i64, i64, i64, *literals, full, sigma), codegen


@functools.cache
def panel(size, columns, full, sigma="identity"):
    """The kernel for at most `columns` vectors of lanes; `full` if they are all whole; sigma: a short activation.

    Overwrites C (M, N): C[m * c_row + n] = σ(init[m * i_row + n] + Σ_r S[m * s_row + r * s_sum] V[r * v_row + n]).
    """
    lanes = lanes_of(size)
    tall, middle = TILES[registers()[1]][columns]
    P = POINTERS[size]

    @kernel(VOID(P, INT, P, INT, P, INT, INT, P, INT, INT, INT, INT), size, columns, full, sigma)
    def panel(C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        while M >= tall:
            tile(C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, N, R, tall, 0, columns, lanes, full, sigma)
            C, init, S, M = (
                shift(C, tall * c_row),
                shift(init, tall * i_row),
                shift(S, tall * s_row),
                M - tall,
            )
        while M > 1:
            tile(C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, N, R, middle, 1, columns, lanes, full, sigma)
            C, init, S, M = (
                shift(C, middle * c_row),
                shift(init, middle * i_row),
                shift(S, middle * s_row),
                M - middle,
            )
        if M == 1:
            tile(C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, N, R, 1, 0, columns, lanes, full, sigma)

    return panel


@functools.cache
def dense(size):
    """The sum for any N: whole panels of the widest tile, then one panel for the lanes that are left.

    Takes the addresses of the panels first (see `panels_for`), otherwise as `panel`.
    """
    lanes = lanes_of(size)
    width = panel_width(size)
    P = POINTERS[size]

    @kernel(VOID(INTEGERS, P, INT, P, INT, P, INT, INT, P, INT, INT, INT, INT), size)
    def dense(panels, C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        while N >= width:
            call(panels[0], C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, width, R)
            C, init, V, N = shift(C, width), shift(init, width), shift(V, width), N - width
        if N > 0:
            call(panels[1 + (N - 1) // lanes], C, c_row, init, i_row, S, s_row, s_sum, V, v_row, M, N, R)

    return dense


def panel_width(size):
    """Lanes of the widest panel."""
    return max(TILES[registers()[1]]) * lanes_of(size)


def panels_for(size, widths, sigma="identity"):
    """The panels that rows of these widths need, by number: 0 of whole vectors, then the tails of 1, 2, … vectors."""
    lanes = lanes_of(size)
    whole = panel_width(size)
    panels = {}
    for width in widths:
        if width >= whole:
            panels[0] = panel(size, whole // lanes, 1, sigma)
        vectors = -(-(width % whole) // lanes)
        if vectors:
            panels[vectors] = panel(size, vectors, 0, sigma)
    return panels
