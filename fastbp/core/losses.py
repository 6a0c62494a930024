"""Losses: cost and delta of the outputs from one function, one table; and the kernels made from a row of it.

A kernel has the C signature (d, costs, spare, x, y, weights, w_row, rows, width, stride, scale) and, for each
example n, overwrites costs[n] = w_n C_n and d (rows, width; rows `stride` apart), scaled by w_n · scale:

    elementwise     x = a:  C_n = Σ_j c(a_j, y_j)    d = ∂C_n/∂a     then the output's backward makes dz of it
    fused           x = z:  a stable form of C_n in z     d = ∂C_n/∂z     for a loss with its own output

y holds `width` numbers a row, or one class number a row for the kernels of classes; weights are w_row (0 or 1) apart.
`spare` has room for `rows` numbers. An example of weight 0 counts for nothing, also where its loss is infinite.

With other outputs than its own, a loss is its formula in a as it stands: a cross-entropy of an a_j <= 0 is then
infinite or NaN where y_j is not 0.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from .activations import add_product, exponentials, sum_of
from .compile import DOUBLE, INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from .elementary import exp, log, log1p, sigmoid
from .memory import fill, first, load, rounded, shift, store
from .simd import absolute, select, traced


class Loss(NamedTuple):
    """A row of the table: c(a, y), ∂c/∂a, ∂²c/∂a²."""

    value: Callable
    derivative: Callable
    second: Callable


def squared_error(a, y):
    return (a - y) * (a - y)


def squared_error_derivative(a, y):
    return 2.0 * (a - y)


def squared_error_second(a, y):
    return a.constant(2.0)


def half_squared_error(a, y):
    return 0.5 * ((a - y) * (a - y))


def half_squared_error_derivative(a, y):
    return a - y


def half_squared_error_second(a, y):
    return a.constant(1.0)


def cross_entropy(a, y):
    """-y log a, and 0 where y = 0 whatever a is"""
    return select(y == 0.0, 0.0, -y * log(a))


def cross_entropy_derivative(a, y):
    return select(y == 0.0, 0.0, -y / a)


def cross_entropy_second(a, y):
    return select(y == 0.0, 0.0, y / (a * a))


def binary_cross_entropy(a, y):
    """-y log a - (1 - y) log(1 - a)"""
    return cross_entropy(a, y) + cross_entropy(1.0 - a, 1.0 - y)


def binary_cross_entropy_derivative(a, y):
    return cross_entropy_derivative(a, y) - cross_entropy_derivative(1.0 - a, 1.0 - y)


def binary_cross_entropy_second(a, y):
    return cross_entropy_second(a, y) + cross_entropy_second(1.0 - a, 1.0 - y)


LOSSES = {
    "squared_error": Loss(squared_error, squared_error_derivative, squared_error_second),
    "half_squared_error": Loss(half_squared_error, half_squared_error_derivative, half_squared_error_second),
    "cross_entropy": Loss(cross_entropy, cross_entropy_derivative, cross_entropy_second),
    "binary_cross_entropy": Loss(binary_cross_entropy, binary_cross_entropy_derivative, binary_cross_entropy_second),
}

OWN_OUTPUT = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}
"""The output with which a loss has a fused, stable form."""


def loss_kernel(name, output, classes, size, fused=True):
    """(kernel, whether it is fused) for a loss on an output; fused=False asks for the chain rule as it stands."""
    if fused and OWN_OUTPUT.get(name) == output:
        if name == "cross_entropy":
            return (softmax_cross_entropy_classes if classes else softmax_cross_entropy)(size), True
        return elementwise("binary_cross_entropy", size, fused=True), True
    return (of_classes(size) if classes else elementwise(name, size)), False


def signature(size):
    P = POINTERS[size]
    return VOID(P, P, P, P, P, P, INT, INT, INT, INT, DOUBLE)


# --- sums over the outputs ------------------------------------------------------------------------------------------


def sigmoid_cross_entropy(z, y):
    """max(z, 0) - y z + log(1 + e^-|z|): the binary cross-entropy of a = sigmoid(z)"""
    return select(z < 0.0, 0.0, z) - y * z + log1p(exp(-absolute(z)))


def sigmoid_cross_entropy_derivative(z, y):
    return sigmoid(z) - y


@functools.cache
def elementwise(name, size, fused=False):
    """The kernel of a row of the table, for any output; fused: binary_cross_entropy from z of a sigmoid output."""
    lanes = lanes_of(size)
    value, derivative = sigmoid_cross_entropy, sigmoid_cross_entropy_derivative
    if not fused:
        value, derivative, _ = LOSSES[name]
    add_value = traced(lambda mask, x, y, total: total + select(mask, value(x, y), 0.0))
    delta = traced(lambda x, y, factor: select(x.spread(factor) == 0.0, 0.0, derivative(x, y) * factor))

    @kernel(signature(size), name, size, fused)
    def elementwise(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            weight = weights[n * w_row]
            total = fill(x, 0.0, lanes)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                x_j, y_j = load(shift(x, j), mask), load(shift(y, j), mask)
                total = add_value(mask, x_j, y_j, total)
                store(shift(d, j), delta(x_j, y_j, weight * scale), mask)
            costs[n] = weight * sum_of(total) if weight != 0.0 else weight
            d, x, y = shift(d, stride), shift(x, stride), shift(y, width)

    return elementwise


# --- one class for each example -------------------------------------------------------------------------------------

logarithm = traced(log)


@functools.cache
def of_classes(size):
    """Cross-entropy of class numbers with any output: C_n = -log a_c, da_c = -1 / a_c, the other da_j = 0."""
    lanes = lanes_of(size)

    @kernel(signature(size), size)
    def of_classes(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            c, weight = int(y[n]), weights[n * w_row]
            for j in range(0, width, lanes):
                store(shift(d, j), fill(d, 0.0, lanes), first(width - j, lanes))
            costs[n] = x[c]
            if weight != 0.0:
                d[c] = rounded(-(weight * scale) / x[c], d)
            d, x = shift(d, stride), shift(x, stride)
        for n in range(0, rows, lanes):
            mask = first(rows - n, lanes)
            store(shift(costs, n), logarithm(load(shift(costs, n), mask)), mask)
        for n in range(rows):
            weight = weights[n * w_row]
            costs[n] = -weight * costs[n] if weight != 0.0 else weight

    return of_classes


@functools.cache
def softmax_cross_entropy_classes(size):
    """C_n = log Σ_i e^z_i - z_c for the class c of the example, dz_j = p_j - [j = c] with p the softmax of z."""
    lanes = lanes_of(size)
    scaled = traced(lambda x, factor: x * factor)

    @kernel(signature(size), size)
    def softmax_cross_entropy_classes(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            top, total = exponentials(d, x, width, lanes)
            c = int(y[n])
            factor = rounded(weights[n * w_row] * scale, d)
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

    return softmax_cross_entropy_classes


# --- a row of probabilities for each example ------------------------------------------------------------------------


@functools.cache
def softmax_cross_entropy(size):
    """C_n = Σ_j y_j (log Σ_i e^z_i - z_j), dz_j = p_j Σ_i y_i - y_j with p the softmax of z."""
    lanes = lanes_of(size)
    delta = traced(lambda e, y, share, factor: (e * share - y) * factor)
    add_cost = traced(lambda y, z, top, log_total, total: total + y * (log_total - (z - top)))

    @kernel(signature(size), size)
    def softmax_cross_entropy(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
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

    return softmax_cross_entropy
