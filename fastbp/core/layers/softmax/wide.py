"""Softmax and its cross-entropy, example by example: for any number of outputs."""

import functools
import math

from fastbp.core.formulas.elementary import exp, log
from fastbp.core.formulas.losses import y_log_y
from fastbp.core.ir.kernel import INT, POINTERS, VOID, inline, kernel, lanes_of, loss_signature, wide_vectors
from fastbp.core.ir.memory import fill, first, load, rounded, shift, store
from fastbp.core.ir.traced import max_of, maximum, plus, select, sum_of, traced

logarithm = traced(log)
larger_present = traced(lambda mask, x, top: maximum(top, select(mask, x, -math.inf)))
shifted_exp = traced(lambda mask, x, top: select(mask, exp(x - top), 0.0))
add_product = traced(lambda x, y, total: x * y + total)
divide = traced(lambda x, y: x / y)


@inline
def exponentials(e, z, width, lanes):
    """Overwrites e (width): e_j = exp(z_j - max z); returns max z and Σ_j e_j. e may be z."""
    tops, totals = fill(z, -math.inf, lanes), fill(z, 0.0, lanes)
    for j in range(0, width, lanes):
        mask = first(width - j, lanes)
        tops = larger_present(mask, load(shift(z, j), mask), tops)
    top = max_of(tops)
    for j in range(0, width, lanes):
        mask = first(width - j, lanes)
        x = shifted_exp(mask, load(shift(z, j), mask), top)
        store(shift(e, j), x, mask)
        totals = plus(totals, x)
    return top, sum_of(totals)


@functools.cache
def wide_softmax(size):
    """`forward` of softmax, example by example: a_j = e^(z_j - max z) / Σ_i e^(z_i - max z)."""
    lanes, P = lanes_of(size), POINTERS[size]

    @kernel(VOID(P, P, INT, INT, INT), size)
    def wide_softmax(a, z, rows, width, stride):
        wide_vectors()
        for n in range(rows):
            a_n = shift(a, n * stride)
            _, total = exponentials(a_n, shift(z, n * stride), width, lanes)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                store(shift(a_n, j), divide(load(shift(a_n, j), mask), total), mask)

    return wide_softmax


@functools.cache
def softmax_backward(size):
    """`backward` of softmax: dz_j = a_j (da_j - Σ_i a_i da_i)."""
    lanes, P = lanes_of(size), POINTERS[size]
    delta = traced(lambda a, da, dot: a * (da - dot))

    @kernel(VOID(P, P, P, P, INT, INT, INT), size)
    def softmax_backward(dz, z, a, da, rows, width, stride):
        wide_vectors()
        for n in range(rows):
            a_n, da_n, dz_n = shift(a, n * stride), shift(da, n * stride), shift(dz, n * stride)
            dots = fill(a, 0.0, lanes)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                dots = add_product(load(shift(a_n, j), mask), load(shift(da_n, j), mask), dots)
            dot = sum_of(dots)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                store(shift(dz_n, j), delta(load(shift(a_n, j), mask), load(shift(da_n, j), mask), dot), mask)

    return softmax_backward


@inline
def class_of(number, width):
    """The number as the index of one of `width` classes; -1 if it is none."""
    index = int(number) if number >= 0.0 and number < width else -1
    return index if index == number else -1


@functools.cache
def wide_cross_entropy(size):
    """Of class indices."""
    lanes = lanes_of(size)
    scaled = traced(lambda x, factor: x * factor)

    @kernel(loss_signature(size), size)
    def wide_cross_entropy(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
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

    return wide_cross_entropy


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
