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

from .activations import add
from .compile import kernel, lanes_of, loss_signature, wide_vectors
from .cross_entropy import logarithm, softmax_cross_entropy
from .elementary import exp, log, log1p_bounded, sigmoid
from .memory import every, fill, first, load, on_stack, rounded, shift, store
from .traced import absolute, select, traced
from .transpose import transpose_tile


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


def loss_kernel(name, output, width, classes, size, fused=True):
    """(kernel, whether it is fused) for a loss on `width` outputs; fused=False asks for the chain rule as it stands."""
    if fused and OWN_OUTPUT.get(name) == output:
        if name == "cross_entropy":
            return softmax_cross_entropy(classes, width, size), True
        return elementwise("binary_cross_entropy", size, fused=True), True
    return (of_classes(size) if classes else elementwise(name, size)), False


# --- sums over the outputs ------------------------------------------------------------------------------------------


def sigmoid_cross_entropy(z, y):
    """max(z, 0) - y z + log(1 + e^-|z|): the binary cross-entropy of a = sigmoid(z)"""
    return select(z < 0.0, 0.0, z) - y * z + log1p_bounded(exp(-absolute(z)))


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
    weigh = traced(lambda x, weight: select(x.spread(weight) == 0.0, 0.0, x * weight))
    square = lanes * lanes

    @kernel(loss_signature(size), name, size, fused)
    def elementwise(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        parts = on_stack(x, square)  # c(a_j, y_j) summed to one vector, for as many examples as it has lanes
        columns = width if width < lanes else lanes
        for begin in range(0, rows, lanes):
            count = rows - begin if rows - begin < lanes else lanes
            for i in range(count):
                weight = weights[(begin + i) * w_row]
                total = fill(x, 0.0, lanes)
                for j in range(0, width, lanes):
                    mask = first(width - j, lanes)
                    x_j, y_j = load(shift(x, j), mask), load(shift(y, j), mask)
                    total = add_value(mask, x_j, y_j, total)
                    store(shift(d, j), delta(x_j, y_j, weight * scale), mask)
                store(shift(parts, i * lanes), weigh(total, weight), every(lanes))
                d, x, y = shift(d, stride), shift(x, stride), shift(y, width)
            transpose_tile(parts, lanes, parts, lanes, lanes)
            total = load(parts, every(lanes))
            for j in range(1, columns):
                total = add(total, load(shift(parts, j * lanes), every(lanes)))
            store(shift(costs, begin), total, first(count, lanes))

    return elementwise


# --- one class for each example -------------------------------------------------------------------------------------


@functools.cache
def of_classes(size):
    """Cross-entropy of class numbers with any output: C_n = -log a_c, da_c = -1 / a_c, the other da_j = 0."""
    lanes = lanes_of(size)

    @kernel(loss_signature(size), size)
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
