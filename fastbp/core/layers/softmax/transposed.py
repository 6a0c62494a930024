"""Softmax and its cross-entropy on transposed rows: a vector holds one output of `lanes` examples.

For a few vectors of outputs: maximum and sum go from output to output, with no step across lanes.
"""

import functools
import math

from fastbp.core.formulas.elementary import exp, log
from fastbp.core.ir.kernel import INT, POINTERS, VOID, inline, kernel, lanes_of, loss_signature, wide_vectors
from fastbp.core.ir.memory import every, fill, first, load, on_stack, shift, store
from fastbp.core.ir.traced import maximum, minimum, plus, select, traced
from fastbp.core.matmul.forms import MOST_TRANSPOSED
from fastbp.core.matmul.transpose import transpose_back, transpose_columns

exp_below = traced(lambda z, top: exp(z - top))
divide = traced(lambda x, y: x / y)


@inline
def transpose_rows(tile, z, stride, count, width, columns, lanes):
    """Overwrites tile (width, lanes): the z_j of `count` examples, transposed `columns` outputs at a time.

    Returns max z of each example.
    """
    for j in range(0, width, columns):
        transpose_columns(shift(tile, j * lanes), shift(z, j), stride, count, columns, lanes)
    top = load(tile, every(lanes))
    for j in range(1, width):
        top = maximum(top, load(shift(tile, j * lanes), every(lanes)))
    return top


@inline
def write_rows(out, stride, tile, count, width, columns, lanes):
    """Overwrites out (count, width; rows `stride` apart) by tile (width, lanes)."""
    for j in range(0, width, columns):
        transpose_back(shift(out, j), stride, shift(tile, j * lanes), count, columns, lanes)


@functools.cache
def transposed_softmax(size, columns):
    """As `wide.wide_softmax`, for at most MOST_TRANSPOSED vectors of outputs, transposed `columns` at a time."""
    lanes, square, P = lanes_of(size), MOST_TRANSPOSED * lanes_of(size) ** 2, POINTERS[size]

    @kernel(VOID(P, P, INT, INT, INT), size, columns)
    def transposed_softmax(a, z, rows, width, stride):
        wide_vectors()
        tile = on_stack(z, square)
        whole = every(lanes)
        for n in range(0, rows, lanes):
            count, total = minimum(rows - n, lanes), fill(z, 0.0, lanes)
            top = transpose_rows(tile, shift(z, n * stride), stride, count, width, columns, lanes)
            for j in range(width):
                e = exp_below(load(shift(tile, j * lanes), whole), top)
                total = plus(total, e)
                store(shift(tile, j * lanes), e, whole)
            for j in range(width):
                store(shift(tile, j * lanes), divide(load(shift(tile, j * lanes), whole), total), whole)
            write_rows(shift(a, n * stride), stride, tile, count, width, columns, lanes)

    return transposed_softmax


@functools.cache
def transposed_cross_entropy(size, columns):
    """As `wide.wide_cross_entropy`, for at most MOST_TRANSPOSED vectors of outputs, transposed `columns` at a time."""
    lanes, square = lanes_of(size), MOST_TRANSPOSED * lanes_of(size) ** 2
    picked = traced(lambda j, c, z, other: select(c == j, z, other))
    cost = traced(lambda total, top, z_c, w: w * (log(total) + (top - z_c)))
    share = traced(lambda total, w, scale: w * scale / total)
    delta = traced(lambda j, c, e, share, total: share * select(c == j, e - total, e))
    checked = traced(lambda total, z_c: select(z_c == z_c, total, math.nan))

    @kernel(loss_signature(size), size, columns)
    def transposed_cross_entropy(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        tile = on_stack(x, square)
        whole = every(lanes)
        for n in range(0, rows, lanes):
            x_n, d_n, count = shift(x, n * stride), shift(d, n * stride), minimum(rows - n, lanes)
            top = transpose_rows(tile, x_n, stride, count, width, columns, lanes)
            mask = first(count, lanes)
            c, w = load(shift(y, n), mask), fill(x, weights[0], lanes)
            if w_row != 0:
                w = load(shift(weights, n), mask)
            total, z_c = fill(x, 0.0, lanes), fill(x, math.nan, lanes)  # z_c stays NaN where c is no class index
            for j in range(width):
                z = load(shift(tile, j * lanes), whole)
                e = exp_below(z, top)
                total, z_c = plus(total, e), picked(float(j), c, z, z_c)
                store(shift(tile, j * lanes), e, whole)
            total = checked(total, z_c)
            store(shift(costs, n), cost(total, top, z_c, w), mask)
            part = share(total, w, scale)
            for j in range(width):
                e = load(shift(tile, j * lanes), whole)
                store(shift(tile, j * lanes), delta(float(j), c, e, part, total), whole)
            write_rows(d_n, stride, tile, count, width, columns, lanes)

    return transposed_cross_entropy
