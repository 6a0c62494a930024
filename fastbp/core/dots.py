"""The sum of dense.py with its lanes over the terms: C[m, n] = init[m, n] + Σ_r S[m, r] V[n, r].

For a few outputs, whose own lanes would be mostly empty, and for deltas of a few examples, for which it is not worth
while to transpose the weights. The lanes are summed by halves, in one order for every element of every tile.
"""

import functools

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .compile import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from .memory import load_lanes, shift, store_lanes
from .simd import INT32, INT64, Mask, Vector, constant, first_lanes, float_function


def folded(builder, x, y, bit):
    """(x_i of lanes i without the bit and y_i of those with it, and of each its neighbour across the bit)."""
    n = x.type.count

    def lanes(across):
        picked = [(i ^ across) + (n if i & bit else 0) for i in range(n)]
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT32, n), picked))

    return lanes(0), lanes(bit)


def emit_sums(builder, vectors):
    """A vector whose lane i is the sum of the lanes of the i-th of `vectors`, n vectors of n lanes."""
    vectors, n = list(vectors), len(vectors)
    bit = n // 2
    while bit:
        for i in range(bit):
            vectors[i] = builder.fadd(*folded(builder, vectors[i], vectors[i + bit], bit))
        bit //= 2
    return vectors[0]


@intrinsic(prefer_literal=True)
def sums_of_rows(typingctx, x, lanes):
    """A vector whose lane i is Σ_j x[i, j]; x is (lanes, lanes)."""
    n = lanes.literal_value
    vector = Vector(x.dtype, n)

    def codegen(context, builder, sig, args):
        at = (builder.gep(args[0], [INT64(i * n)]) for i in range(n))
        return emit_sums(builder, [load_lanes(builder, pointer, vector, Mask(n, full=True), None) for pointer in at])

    return vector(x, lanes), codegen


@intrinsic(prefer_literal=True)
def dots_tile(typingctx, C, c_row, init, i_row, S, s_row, V, v_row, M, N, R, rows, some, lanes):
    """Overwrites `rows` rows and at most lanes / rows columns of C, N of which are there; if `some`, M of the rows."""
    rows, some, n_lanes = rows.literal_value, some.literal_value, lanes.literal_value
    columns, vector = n_lanes // rows, Vector(C.dtype, n_lanes)

    def codegen(context, builder, sig, args):
        C, c_row, init, i_row, S, s_row, V, v_row, M, N, R = args[:11]

        def pointers(begin, row, count, most):  # a row that is not there is read as the last that is
            for i in map(INT64, range(count)):
                if most is not None:
                    i = builder.select(builder.icmp_signed("<", i, most), i, builder.sub(most, INT64(1)))
                yield builder.gep(begin, [builder.mul(i, row)])

        s_rows, v_rows = list(pointers(S, s_row, rows, M if some else None)), list(pointers(V, v_row, columns, N))
        zero = constant(vector.llvm, 0.0)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(rows * columns)]
        multiply_add = float_function(builder, "fmuladd", vector.llvm, 3)

        with cgutils.for_range_slice(builder, INT64(0), R, INT64(n_lanes), inc=True) as (r, _):
            mask = Mask(n_lanes), first_lanes(builder, builder.sub(R, r), n_lanes)
            s = [load_lanes(builder, builder.gep(at, [r]), vector, *mask) for at in s_rows]
            v = [load_lanes(builder, builder.gep(at, [r]), vector, *mask) for at in v_rows]
            for i, at in enumerate(sums):
                builder.store(builder.call(multiply_add, [s[i // columns], v[i % columns], builder.load(at)]), at)

        total = emit_sums(builder, [builder.load(at) for at in sums])
        present, none = first_lanes(builder, N, n_lanes), ir.Constant(ir.VectorType(ir.IntType(1), n_lanes), None)
        for m in range(rows):
            take = ir.Constant(ir.VectorType(INT32, n_lanes), [(m * columns + n) % n_lanes for n in range(n_lanes)])
            row = builder.shuffle_vector(total, ir.Constant(vector.llvm, ir.Undefined), take)
            mask = Mask(n_lanes), present
            if some:
                mask = Mask(n_lanes), builder.select(builder.icmp_signed("<", INT64(m), M), present, none)
            start = load_lanes(builder, builder.gep(init, [builder.mul(INT64(m), i_row)]), vector, *mask)
            at = builder.gep(C, [builder.mul(INT64(m), c_row)])
            store_lanes(builder, at, vector, builder.fadd(start, row), *mask)
        return context.get_dummy_value()

    i64 = types.int64
    literals = types.literal(rows), types.literal(some), types.literal(n_lanes)
    return types.void(C, i64, init, i64, S, i64, V, i64, i64, i64, i64, *literals), codegen


@functools.cache
def dots(size, rows):
    """Overwrites C (M, N): C[m * c_row + n] = init[m * i_row + n] + Σ_r S[m * s_row + r] V[n * v_row + r].

    In tiles of `rows` rows, a power of 2 and at most the lanes, and lanes / rows columns.
    """
    lanes = lanes_of(size)
    columns = lanes // rows
    P = POINTERS[size]

    @kernel(VOID(P, INT, P, INT, P, INT, P, INT, INT, INT, INT), size, rows)
    def dots(C, c_row, init, i_row, S, s_row, V, v_row, M, N, R):
        wide_vectors()
        whole = M // rows * rows
        for n in range(0, N, columns):
            C_n, init_n, S_m, V_n = shift(C, n), shift(init, n), S, shift(V, n * v_row)
            for _ in range(0, whole, rows):
                dots_tile(C_n, c_row, init_n, i_row, S_m, s_row, V_n, v_row, rows, N - n, R, rows, 0, lanes)
                C_n, init_n, S_m = shift(C_n, rows * c_row), shift(init_n, rows * i_row), shift(S_m, rows * s_row)
            if whole < M:
                dots_tile(C_n, c_row, init_n, i_row, S_m, s_row, V_n, v_row, M - whole, N - n, R, rows, 1, lanes)

    return dots


def narrow_rows(width, size):
    """Rows of the tile for `width` columns, or 0 if that many fill the lanes of dense.py well enough."""
    lanes = lanes_of(size)
    return next((lanes // columns for columns in (1, 2, 4) if width <= columns <= lanes // 2), 0)
