"""Losses: cost and delta of the outputs from one function, one table; and the kernels made from a row of it.

A kernel has the C signature (d, costs, spare, x, y, weights, w_row, rows, width, stride, scale) and, for each
example n, overwrites costs[n] = w_n C_n and d (rows, width; rows `stride` apart), scaled by w_n · scale:

    elementwise     x = a:  C_n = Σ_j c(a_j, y_j)    d = ∂C_n/∂a     then the output's backward makes dz of it
    fused           x = z:  a stable form of C_n in z     d = ∂C_n/∂z     for a loss with its own output

y holds `width` numbers a row, or one class number a row for the kernels named …_classes; weights are w_row (0 or 1)
apart. `spare` has room for `rows` numbers.
"""

import functools
from typing import Any, NamedTuple

from .activations import row_exponentials, row_maximum
from .compile import DOUBLE, INT, POINTERS, VOID, inline, kernel, lanes_of, wide_vectors
from .elementary import ONE, ZERO, exp, log, log1p, sigmoid
from .simd import absolute, first, load, max_lanes, one_hot, rounded, select, shift, store, sum_lanes


class Loss(NamedTuple):
    """A row of the table: c(a, y), ∂c/∂a, ∂²c/∂a² of vectors."""

    value: Any
    derivative: Any
    second: Any


@inline
def squared_error(a, y):
    return (a - y) * (a - y)


@inline
def squared_error_derivative(a, y):
    return 2.0 * (a - y)


@inline
def squared_error_second(a, y):
    return 2.0 * ONE(a)


@inline
def half_squared_error(a, y):
    return 0.5 * ((a - y) * (a - y))


@inline
def half_squared_error_derivative(a, y):
    return a - y


@inline
def half_squared_error_second(a, y):
    return ONE(a)


@inline
def cross_entropy(a, y):
    """-y log a, and 0 where y = 0 whatever a is"""
    return select(y == 0.0, ZERO(a), -y * log(a))


@inline
def cross_entropy_derivative(a, y):
    return select(y == 0.0, ZERO(a), -y / a)


@inline
def cross_entropy_second(a, y):
    return select(y == 0.0, ZERO(a), y / (a * a))


@inline
def binary_cross_entropy(a, y):
    """-y log a - (1 - y) log(1 - a)"""
    return cross_entropy(a, y) + cross_entropy(1.0 - a, 1.0 - y)


@inline
def binary_cross_entropy_derivative(a, y):
    return cross_entropy_derivative(a, y) - cross_entropy_derivative(1.0 - a, 1.0 - y)


@inline
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


def signature(size):
    P = POINTERS[size]
    return VOID(P, P, P, P, P, P, INT, INT, INT, INT, DOUBLE)


def make_y_row(classes):
    """width -> numbers of y for one example."""
    return inline((lambda width: 1) if classes else (lambda width: width))


def make_target(classes):
    """(y, j, mask) -> the vector y_j, y_j+1, … of a row of targets."""
    if classes:

        @inline
        def target(y, j, mask):
            """1 in the lane of the class that the row names, else 0."""
            return one_hot(y[0], j, mask)

    else:

        @inline
        def target(y, j, mask):
            return load(shift(y, j), mask)

    return target


@functools.cache
def elementwise(name, classes, size):
    """The kernel of a row of the table, for any output: from a, by the formula as it stands."""
    lanes = lanes_of(size)
    value, derivative, _ = LOSSES[name]
    target = make_target(classes)
    y_row = make_y_row(classes)

    @kernel(signature(size), name, classes, size)
    def loss(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            weight = weights[n * w_row]
            factor = rounded(weight * scale, weights)
            mask = first(width, lanes)
            total = ZERO(load(x, mask))
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                a = load(shift(x, j), mask)
                t = target(y, j, mask)
                total = total + select(mask, value(a, t), ZERO(a))
                store(shift(d, j), derivative(a, t) * factor, mask)
            costs[n] = weight * sum_lanes(total)
            d, x, y = shift(d, stride), shift(x, stride), shift(y, y_row(width))

    return loss


@inline
def softmax_of_row(d, z, width, lanes):
    """Overwrites d (width): d_j = e^(z_j - max z); returns max z and Σ_j d_j."""
    top = max_lanes(row_maximum(z, width, lanes))
    return top, sum_lanes(row_exponentials(d, z, top, width, lanes))


@inline
def logarithms(x, count, lanes):
    """Overwrites x (count): x = log x, all rows together."""
    for n in range(0, count, lanes):
        mask = first(count - n, lanes)
        store(shift(x, n), log(load(shift(x, n), mask)), mask)


@functools.cache
def softmax_cross_entropy_classes(size):
    """C_n = log Σ_i e^z_i - z_c for the class c of the example, dz_j = p_j - [j = c] with p the softmax of z."""
    lanes = lanes_of(size)

    @kernel(signature(size), size)
    def softmax_cross_entropy_classes(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            top, total = softmax_of_row(d, x, width, lanes)
            c = int(y[n])
            weight = weights[n * w_row]
            factor = rounded(weight * scale, weights)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                store(shift(d, j), load(shift(d, j), mask) * (factor / total), mask)
            d[c] -= factor
            costs[n], spare[n] = total, top - x[c]
            d, x = shift(d, stride), shift(x, stride)
        logarithms(costs, rows, lanes)
        for n in range(rows):
            costs[n] = weights[n * w_row] * (costs[n] + spare[n])

    return softmax_cross_entropy_classes


@functools.cache
def softmax_cross_entropy(size):
    """C_n = Σ_j y_j (log Σ_i e^z_i - z_j), dz_j = p_j Σ_i y_i - y_j with p the softmax of z."""
    lanes = lanes_of(size)

    @kernel(signature(size), size)
    def softmax_cross_entropy(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        z, t = x, y
        for n in range(rows):
            top, total = softmax_of_row(d, z, width, lanes)
            factor = rounded(weights[n * w_row] * scale, weights)
            mask = first(width, lanes)
            mass = load(t, mask)
            for j in range(lanes, width, lanes):
                mass = mass + load(shift(t, j), first(width - j, lanes))
            share = sum_lanes(mass) / total
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                store(shift(d, j), (load(shift(d, j), mask) * share - load(shift(t, j), mask)) * factor, mask)
            costs[n], spare[n] = total, top
            d, z, t = shift(d, stride), shift(z, stride), shift(t, width)
        logarithms(costs, rows, lanes)
        z, t = x, y
        for n in range(rows):
            log_total, top = costs[n], spare[n]
            mask = first(width, lanes)
            cost = load(t, mask) * (log_total - (load(z, mask) - top))
            for j in range(lanes, width, lanes):
                mask = first(width - j, lanes)
                cost = cost + load(shift(t, j), mask) * (log_total - (load(shift(z, j), mask) - top))
            costs[n] = weights[n * w_row] * sum_lanes(cost)
            z, t = shift(z, stride), shift(t, width)

    return softmax_cross_entropy


@functools.cache
def sigmoid_binary_cross_entropy(size):
    """C_n = Σ_j max(z_j, 0) - y_j z_j + log(1 + e^-|z_j|), dz_j = sigmoid(z_j) - y_j."""
    lanes = lanes_of(size)

    @kernel(signature(size), size)
    def sigmoid_binary_cross_entropy(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            weight = weights[n * w_row]
            factor = rounded(weight * scale, weights)
            mask = first(width, lanes)
            total = ZERO(load(x, mask))
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                z, t = load(shift(x, j), mask), load(shift(y, j), mask)
                positive = select(z < 0.0, ZERO(z), z)
                cost = positive - t * z + log1p(exp(-absolute(z)))
                total = total + select(mask, cost, ZERO(z))
                store(shift(d, j), (sigmoid(z) - t) * factor, mask)
            costs[n] = weight * sum_lanes(total)
            d, x, y = shift(d, stride), shift(x, stride), shift(y, width)

    return sigmoid_binary_cross_entropy


def loss_kernel(name, output, classes, size, fused=True):
    """(kernel, whether it is fused) for a loss on an output; fused=False asks for the chain rule as it stands."""
    if fused and OWN_OUTPUT.get(name) == output:
        if name == "cross_entropy":
            return (softmax_cross_entropy_classes if classes else softmax_cross_entropy)(size), True
        return sigmoid_binary_cross_entropy(size), True
    return elementwise(name, classes, size), False
