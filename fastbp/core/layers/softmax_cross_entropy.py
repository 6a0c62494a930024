"""Softmax and cross-entropy in one stable form: C_n = Σ_j y_j (log Σ_i e^z_i - z_j), dz_j = p_j Σ_i y_i - y_j.

p is the softmax of z; see layers/loss.py for the kernels' signature. With class indices, y_j = [j = c]; a number that
is no index of an output makes cost and deltas NaN. The divergence of Kullback and Leibler is the cross-entropy and
Σ_j y_j log y_j.
"""

import functools
import math

from fastbp.core.formulas.elementary import log
from fastbp.core.formulas.losses import y_log_y
from fastbp.core.ir.kernel import inline, kernel, lanes_of, loss_signature, wide_vectors
from fastbp.core.ir.memory import every, fill, first, load, on_stack, rounded, shift, store
from fastbp.core.ir.traced import minimum, plus, select, sum_of, traced
from fastbp.core.layers.activation_kernels import add_product, exp_below, exponentials, turned, turned_back
from fastbp.core.layers.packed_outputs import are_few_classes, few_classes
from fastbp.core.matmul.transpose import NARROW, columns_for, is_narrow

logarithm = traced(log)


def softmax_cross_entropy(classes, width, size):
    """The kernel for `width` outputs and class numbers, or rows of probabilities."""
    if not classes:
        return of_probabilities(size)
    if are_few_classes(width, size):
        return few_classes(size, width)
    return narrow_classes(size, columns_for(width, size)) if is_narrow(width, size) else wide_classes(size)


def softmax_divergence(classes, width, size):
    """The kernel of the divergence, for rows of probabilities."""
    return of_probabilities(size, divergence=True)


@functools.cache
def narrow_classes(size, columns):
    """Few outputs, turned `columns` at a time: as many examples as a vector has lanes go side by side."""
    lanes, square = lanes_of(size), NARROW * lanes_of(size) ** 2
    picked = traced(lambda j, c, z, other: select(c == j, z, other))
    cost = traced(lambda total, top, z_c, w: w * (log(total) + (top - z_c)))
    share = traced(lambda total, w, scale: w * scale / total)
    delta = traced(lambda j, c, e, share, total: share * select(c == j, e - total, e))
    checked = traced(lambda total, z_c: select(z_c == z_c, total, math.nan))

    @kernel(loss_signature(size), size, columns)
    def narrow_classes(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        tile = on_stack(x, square)
        whole = every(lanes)
        for n in range(0, rows, lanes):
            x_n, d_n, count = shift(x, n * stride), shift(d, n * stride), minimum(rows - n, lanes)
            top = turned(tile, x_n, stride, count, width, columns, lanes)
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
            turned_back(d_n, stride, tile, count, width, columns, lanes)

    return narrow_classes


@inline
def class_of(number, width):
    """The number as the index of one of `width` classes; -1 if it is none."""
    index = int(number) if number >= 0.0 and number < width else -1
    return index if index == number else -1


@functools.cache
def wide_classes(size):
    """Example by example."""
    lanes = lanes_of(size)
    scaled = traced(lambda x, factor: x * factor)

    @kernel(loss_signature(size), size)
    def wide_classes(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            top, total = exponentials(d, x, width, lanes)
            c, factor = class_of(y[n], width), rounded(weights[n * w_row] * scale, d)
            if c < 0:
                c, factor, top = 0, rounded(math.nan, d), rounded(math.nan, d)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                store(shift(d, j), scaled(load(shift(d, j), mask), factor / total), mask)
            d[c] -= factor
            costs[n], spare[n] = total, top - x[c]
            d, x = shift(d, stride), shift(x, stride)
        for n in range(0, rows, lanes):  # the logarithms of all rows together
            mask = first(rows - n, lanes)
            store(shift(costs, n), logarithm(load(shift(costs, n), mask)), mask)
        for n in range(rows):
            costs[n] = weights[n * w_row] * (costs[n] + spare[n])

    return wide_classes


@functools.cache
def of_probabilities(size, divergence=False):
    """A row of probabilities for each example."""
    lanes = lanes_of(size)
    delta = traced(lambda e, y, share, factor: (e * share - y) * factor)

    @traced
    def add_cost(y, z, top, log_total, total):
        total = total + y * (log_total - (z - top))
        return total + y_log_y(y) if divergence else total

    @kernel(loss_signature(size), size, divergence)
    def of_probabilities(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        one = fill(x, 1.0, lanes)
        for n in range(rows):
            d_n, y_n = shift(d, n * stride), shift(y, n * width)
            spare[n], costs[n] = exponentials(d_n, shift(x, n * stride), width, lanes)
            mass = fill(x, 0.0, lanes)
            for j in range(0, width, lanes):
                mass = add_product(one, load(shift(y_n, j), first(width - j, lanes)), mass)
            share = sum_of(mass) / costs[n]
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                dz = delta(load(shift(d_n, j), mask), load(shift(y_n, j), mask), share, weights[n * w_row] * scale)
                store(shift(d_n, j), dz, mask)
        for n in range(0, rows, lanes):
            mask = first(rows - n, lanes)
            store(shift(costs, n), logarithm(load(shift(costs, n), mask)), mask)
        for n in range(rows):
            z_n, y_n, total = shift(x, n * stride), shift(y, n * width), fill(x, 0.0, lanes)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                total = add_cost(load(shift(y_n, j), mask), load(shift(z_n, j), mask), spare[n], costs[n], total)
            costs[n] = weights[n * w_row] * sum_of(total)

    return of_probabilities
