"""The sum of matmul/gemm.py with its lanes over the terms: C[m, n] = init[m, n] + Σ_r S[m, r] V[n, r].

For the deltas of a few examples, for which it is not worth while to transpose the weights. The lanes are summed by
halves, in one order for every element of every tile.
"""

import functools

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import load_lanes, shift, store_lanes
from fastbp.core.ir.types import INT32, INT64, Mask, Vector, constant, first_lanes, float_function


def folded(builder, x, y, bit):
    """(x_i of lanes i without the bit and y_i of those with it, and of each its neighbour across the bit)."""
    n = x.type.count

    def lanes(across):
        picked = [(i ^ across) + (n if i & bit else 0) for i in range(n)]
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT32, n), picked))

    return lanes(0), lanes(bit)


def emit_sums(builder, vectors, width=1):
    """A vector whose i-th `width` lanes are the sum of those of the i-th of `vectors`, n of n times as many lanes."""
    vectors, n = list(vectors), len(vectors)
    bit = n // 2
    while bit:
        for i in range(bit):
            vectors[i] = builder.fadd(*folded(builder, vectors[i], vectors[i + bit], bit * width))
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
def dots_tile(typingctx, C, init, S, V, v_row, N, R, lanes):
    """Overwrites at most `lanes` elements of a row of C, N of which are there."""
    n_lanes = lanes.literal_value
    vector = Vector(C.dtype, n_lanes)

    def codegen(context, builder, sig, args):
        C, init, S, V, v_row, N, R, _ = args
        last = builder.sub(N, INT64(1))  # a row that is not there is read as the last that is
        numbers = [builder.select(builder.icmp_signed("<", n, last), n, last) for n in map(INT64, range(n_lanes))]
        v_rows = [builder.gep(V, [builder.mul(n, v_row)]) for n in numbers]
        zero = constant(vector.llvm, 0.0)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(n_lanes)]
        multiply_add = float_function(builder, "fmuladd", vector.llvm, 3)

        with cgutils.for_range_slice(builder, INT64(0), R, INT64(n_lanes), inc=True) as (r, _):
            mask = Mask(n_lanes), first_lanes(builder, builder.sub(R, r), n_lanes)
            s = load_lanes(builder, builder.gep(S, [r]), vector, *mask)
            for v_row_n, at in zip(v_rows, sums, strict=True):
                v = load_lanes(builder, builder.gep(v_row_n, [r]), vector, *mask)
                builder.store(builder.call(multiply_add, [s, v, builder.load(at)]), at)

        total = emit_sums(builder, [builder.load(at) for at in sums])
        present = Mask(n_lanes), first_lanes(builder, N, n_lanes)
        start = load_lanes(builder, init, vector, *present)
        store_lanes(builder, C, vector, builder.fadd(start, total), *present)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(C, init, S, V, i64, i64, i64, types.literal(n_lanes)), codegen


@functools.cache
def dots(size):
    """Overwrites C (M, N): C[m * c_row + n] = init[m * i_row + n] + Σ_r S[m * s_row + r] V[n * v_row + r]."""
    lanes, P = lanes_of(size), POINTERS[size]

    @kernel(VOID(P, INT, P, INT, P, INT, P, INT, INT, INT, INT), size)
    def dots(C, c_row, init, i_row, S, s_row, V, v_row, M, N, R):
        wide_vectors()
        for n in range(0, N, lanes):
            C_m, init_m, S_m, V_n = shift(C, n), shift(init, n), S, shift(V, n * v_row)
            for _ in range(M):
                dots_tile(C_m, init_m, S_m, V_n, v_row, N - n, R, lanes)
                C_m, init_m, S_m = shift(C_m, c_row), shift(init_m, i_row), shift(S_m, s_row)

    return dots
