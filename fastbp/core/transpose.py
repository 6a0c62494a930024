"""The transpose of a weight block, in register tiles."""

import functools

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .compile import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from .memory import load_lanes, shift, store_lanes
from .simd import INT32, Mask, Vector
from .traced import minimum


@intrinsic(prefer_literal=True)
def transpose_tile(typingctx, out, o_row, x, x_row, lanes):
    """Overwrites out (lanes x lanes): out[j, i] = x[i, j]."""
    n = lanes.literal_value
    vector = Vector(out.dtype, n)

    def codegen(context, builder, sig, args):
        out, o_row, x, x_row, _ = args
        mask = Mask(n, full=True), None
        rows = []
        for _ in range(n):
            rows.append(load_lanes(builder, x, vector, *mask))
            x = builder.gep(x, [x_row])
        bit = n // 2
        while bit:  # swap the off-diagonal quarters of every block of 2 * bit rows and lanes
            for i in range(n):
                if not i & bit:
                    upper, lower = rows[i], rows[i + bit]
                    takes = (
                        [lane if not lane & bit else n + lane - bit for lane in range(n)],
                        [lane + bit if not lane & bit else n + lane for lane in range(n)],
                    )
                    rows[i], rows[i + bit] = (
                        builder.shuffle_vector(upper, lower, ir.Constant(ir.VectorType(INT32, n), take))
                        for take in takes
                    )
            bit //= 2
        for row in rows:
            store_lanes(builder, out, vector, row, *mask)
            out = builder.gep(out, [o_row])
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(out, i64, x, i64, lanes), codegen


@functools.cache
def transpose(size):
    """Kernel (out, o_row, x, x_row, rows, columns). Overwrites out (columns, rows): out[j, i] = x[i, j].

    The last tiles begin at rows - lanes and columns - lanes and write some elements again.
    """
    lanes = lanes_of(size)
    P = POINTERS[size]

    @kernel(VOID(P, INT, P, INT, INT, INT), size)
    def transpose(out, o_row, x, x_row, rows, columns):
        wide_vectors()
        if rows < lanes or columns < lanes:
            for i in range(rows):
                for j in range(columns):
                    out[j * o_row + i] = x[i * x_row + j]
            return
        for i_tile in range(0, rows, lanes):
            i = minimum(i_tile, rows - lanes)
            for j_tile in range(0, columns, lanes):
                j = minimum(j_tile, columns - lanes)
                transpose_tile(shift(out, j * o_row + i), o_row, shift(x, i * x_row + j), x_row, lanes)

    return transpose
