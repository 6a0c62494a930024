"""The transpose of a weight block, in register tiles. A tile of n rows swaps quarters of quarters, log2 n times:

0 1 2 3         0 1 | 8 9         0 4 | 8 c
4 5 6 7         4 5 | c d         1 5 | 9 d
8 9 a b   ->    ---------   ->    ---------
c d e f         2 3 | a b         2 6 | a e
                6 7 | e f         3 7 | b f
"""

import functools

from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.lanes import all_or_none, leading_lanes, only_if
from fastbp.core.ir.memory import shift
from fastbp.core.ir.packed_rows import columns_of
from fastbp.core.ir.shuffles import transposed
from fastbp.core.ir.traced import minimum, procedure


def rows_at(pointer, stride, count):
    """Pointers to `count` rows."""
    for _ in range(count):
        yield pointer
        pointer = pointer + stride


def whole_tile(out, o_row, x, x_row, lanes):
    """Overwrites out (lanes x lanes): out[j, i] = x[i, j]."""
    rows = transposed([at.load(lanes) for at in rows_at(x, x_row, lanes)])
    for at, row in zip(rows_at(out, o_row, lanes), rows, strict=True):
        at.store(row)


def edge_tile(out, o_row, x, x_row, rows, columns, lanes):
    """Overwrites out (columns, rows), both at most `lanes`: out[j, i] = x[i, j]; no other memory is touched."""

    def mask_of(i, count, length):
        return only_if(count > i, leading_lanes(length, lanes))

    loaded = [at.load(lanes, mask_of(i, rows, columns)) for i, at in enumerate(rows_at(x, x_row, lanes))]
    for j, (at, row) in enumerate(zip(rows_at(out, o_row, lanes), transposed(loaded), strict=True)):
        at.store(row, mask_of(j, columns, rows))


# --- outputs, transposed so that a vector has one output of several examples ------------------------------------------
# A row is a whole vector in memory. Only what may be another thread's is masked: a load has to wait for a masked store.


def to_columns(tile, x, x_row, rows, columns, lanes):
    """Overwrites tile (columns, lanes): tile[j, i] = x[i, j] for i < rows, at most `lanes`; columns is a literal."""
    loaded = [at.load(lanes, all_or_none(rows > i, lanes)) for i, at in enumerate(rows_at(x, x_row, lanes))]
    for j, row in enumerate(transposed(loaded)[:columns]):
        (tile + j * lanes).store(row)


def to_rows(out, o_row, tile, rows, columns, lanes):
    """Overwrites out (rows, lanes), at most `lanes` rows: out[i, j] = tile[j, i], and 0 for j >= columns, a literal."""
    loaded = [(tile + j * lanes).load(lanes) for j in range(columns)]
    loaded += [tile.filled(lanes, 0.0)] * (lanes - columns)
    for i, (at, row) in enumerate(zip(rows_at(out, o_row, lanes), transposed(loaded), strict=True)):
        at.store(row, all_or_none(rows > i, lanes))


transpose_tile, transpose_edge = procedure(whole_tile, literals=1), procedure(edge_tile, literals=1)
transpose_columns, transpose_back = procedure(to_columns, literals=2), procedure(to_rows, literals=2)


def columns_at_once(width, size):
    """Columns of rows of `width` that one `transpose_columns` takes: a power of 2, up to the lanes of a vector."""
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
