"""The transpose of a weight block, in register tiles."""

import functools

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import load_lanes, shift, store_lanes
from fastbp.core.ir.packed_rows import columns_of
from fastbp.core.ir.traced import minimum
from fastbp.core.ir.types import INT32, INT64, Mask, Vector, first_lanes


def halves(builder, upper, lower, bit):
    """The lanes of two vectors in which `bit` of the lane's number is off, and those in which it is on.

    Each beside its partner's: what lies in lane i + bit of one comes to lane i of the second, and so on.
    """
    n = upper.type.count
    takes = (
        [lane if not lane & bit else n + lane - bit for lane in range(n)],
        [lane + bit if not lane & bit else n + lane for lane in range(n)],
    )
    return (builder.shuffle_vector(upper, lower, ir.Constant(ir.VectorType(INT32, n), take)) for take in takes)


def emit_transposed(builder, rows, width=1):
    """The vectors whose i-th `width` lanes are as many lanes of the i-th of `rows`, n vectors of n times as many."""
    rows, n = list(rows), len(rows)
    bit = n // 2
    while bit:  # swap the off-diagonal quarters of every block of 2 * bit rows and lanes
        for i in range(n):
            if not i & bit:
                rows[i], rows[i + bit] = halves(builder, rows[i], rows[i + bit], bit * width)
        bit //= 2
    return rows


@intrinsic(prefer_literal=True)
def transpose_tile(typingctx, out, o_row, x, x_row, lanes):
    """Overwrites out (lanes x lanes): out[j, i] = x[i, j]."""
    n = lanes.literal_value
    vector, whole = Vector(out.dtype, n), (Mask(n, full=True), None)

    def codegen(context, builder, sig, args):
        out, o_row, x, x_row, _ = args
        rows = []
        for _ in range(n):
            rows.append(load_lanes(builder, x, vector, *whole))
            x = builder.gep(x, [x_row])
        for row in emit_transposed(builder, rows):
            store_lanes(builder, out, vector, row, *whole)
            out = builder.gep(out, [o_row])
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(out, i64, x, i64, lanes), codegen


@intrinsic(prefer_literal=True)
def transpose_edge(typingctx, out, o_row, x, x_row, rows, columns, lanes):
    """Overwrites out (columns, rows), both at most `lanes`: out[j, i] = x[i, j]; no other memory is touched."""
    n = lanes.literal_value
    vector, part = Vector(out.dtype, n), Mask(n)

    def codegen(context, builder, sig, args):
        out, o_row, x, x_row, rows, columns, _ = args
        none = ir.Constant(part.llvm, None)

        def mask_of(i, count, length):
            return builder.select(builder.icmp_signed("<", INT64(i), count), first_lanes(builder, length, n), none)

        loaded = []
        for i in range(n):
            loaded.append(load_lanes(builder, x, vector, part, mask_of(i, rows, columns)))
            x = builder.gep(x, [x_row])
        for j, row in enumerate(emit_transposed(builder, loaded)):
            store_lanes(builder, out, vector, row, part, mask_of(j, columns, rows))
            out = builder.gep(out, [o_row])
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(out, i64, x, i64, i64, i64, lanes), codegen


# --- outputs of some examples, turned so that examples go side by side ------------------------------------------------
# A row is a whole vector in memory. Only what may be somebody else's is masked: a load has to wait for a masked store.


def present(builder, i, count, part):
    """A mask with all lanes on if i < count, else none."""
    all_or_none = ir.Constant(part.llvm, [1] * part.lanes), ir.Constant(part.llvm, None)
    return builder.select(builder.icmp_signed("<", INT64(i), count), *all_or_none)


@intrinsic(prefer_literal=True)
def turn(typingctx, tile, x, x_row, rows, columns, lanes):
    """Overwrites tile (columns, lanes): tile[j, i] = x[i, j] for i < rows, at most `lanes`; columns is a literal."""
    n, columns = lanes.literal_value, columns.literal_value
    vector, part, whole = Vector(x.dtype, n), Mask(n), (Mask(n, full=True), None)

    def codegen(context, builder, sig, args):
        tile, x, x_row, rows = args[:4]
        loaded = []
        for i in range(n):
            loaded.append(load_lanes(builder, x, vector, part, present(builder, i, rows, part)))
            x = builder.gep(x, [x_row])
        for j, row in enumerate(emit_transposed(builder, loaded)[:columns]):
            store_lanes(builder, builder.gep(tile, [INT64(j * n)]), vector, row, *whole)
        return context.get_dummy_value()

    return types.void(tile, x, types.int64, types.int64, types.literal(columns), lanes), codegen


@intrinsic(prefer_literal=True)
def turn_back(typingctx, out, o_row, tile, rows, columns, lanes):
    """Overwrites out (rows, lanes), at most `lanes` rows: out[i, j] = tile[j, i], and 0 for j >= columns, a literal."""
    n, columns = lanes.literal_value, columns.literal_value
    vector, part, whole = Vector(out.dtype, n), Mask(n), (Mask(n, full=True), None)

    def codegen(context, builder, sig, args):
        out, o_row, tile, rows = args[:4]
        loaded = [load_lanes(builder, builder.gep(tile, [INT64(j * n)]), vector, *whole) for j in range(columns)]
        loaded += [ir.Constant(vector.llvm, None)] * (n - columns)
        for i, row in enumerate(emit_transposed(builder, loaded)):
            store_lanes(builder, out, vector, row, part, present(builder, i, rows, part))
            out = builder.gep(out, [o_row])
        return context.get_dummy_value()

    return types.void(out, types.int64, tile, types.int64, types.literal(columns), lanes), codegen


NARROW = 2
"""Vectors of outputs up to which rows are turned, so that examples go side by side."""


def is_narrow(width, size):
    """Whether rows of so many outputs are turned."""
    return width <= NARROW * lanes_of(size)


def columns_for(width, size):
    """The power of 2, up to the lanes of a vector, for which `turn` is made."""
    return min(lanes_of(size), columns_of(width))


@functools.cache
def transpose(size):
    """Kernel (out, o_row, x, x_row, rows, columns). Overwrites out (columns, rows): out[j, i] = x[i, j]."""
    lanes = lanes_of(size)
    P = POINTERS[size]

    @kernel(VOID(P, INT, P, INT, INT, INT), size)
    def transpose(out, o_row, x, x_row, rows, columns):
        wide_vectors()
        for i in range(0, rows, lanes):
            for j in range(0, columns, lanes):
                out_ji, x_ij = shift(out, j * o_row + i), shift(x, i * x_row + j)
                if i + lanes <= rows and j + lanes <= columns:
                    transpose_tile(out_ji, o_row, x_ij, x_row, lanes)
                else:
                    left, below = minimum(columns - j, lanes), minimum(rows - i, lanes)
                    transpose_edge(out_ji, o_row, x_ij, x_row, below, left, lanes)

    return transpose
