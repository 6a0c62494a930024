"""Activations: value and derivatives side by side, one table; and the kernels made from a row of it.

    forward     a_j = σ(z_j)
    backward    dz_j = σ'(z_j) da_j          (softmax: dz_j = a_j (da_j - Σ_i a_i da_i))

A row may write σ' through z and through a = σ(z); where it reads only a, z need not be kept.
"""

import functools
from typing import Any, NamedTuple

from .compile import INT, POINTERS, VOID, inline, kernel, lanes_of, wide_vectors
from .elementary import INFINITY, ONE, ZERO, exp, sigmoid, tanh
from .simd import every, first, load, max_lanes, maximum, select, shift, store, sum_lanes


class Activation(NamedTuple):
    """A row of the table: σ(z), σ'(z, a), σ''(z, a) of vectors; whether the derivatives read z."""

    value: Any
    derivative: Any
    second: Any
    reads_z: bool = False


@inline
def identity(z):
    """z"""
    return z


@inline
def identity_derivative(z, a):
    return ONE(a)


@inline
def identity_second(z, a):
    return ZERO(a)


@inline
def sigmoid_derivative(z, a):
    return a * (1.0 - a)


@inline
def sigmoid_second(z, a):
    return a * (1.0 - a) * (1.0 - 2.0 * a)


@inline
def tanh_derivative(z, a):
    return 1.0 - a * a


@inline
def tanh_second(z, a):
    return -2.0 * a * (1.0 - a * a)


@inline
def relu(z):
    """max(z, 0); NaN stays NaN"""
    return select(z < 0.0, ZERO(z), z)


@inline
def relu_derivative(z, a):
    return select(a > 0.0, ONE(a), ZERO(a))


@inline
def relu_second(z, a):
    return ZERO(a)


ACTIVATIONS = {
    "identity": Activation(identity, identity_derivative, identity_second),
    "sigmoid": Activation(sigmoid, sigmoid_derivative, sigmoid_second),
    "tanh": Activation(tanh, tanh_derivative, tanh_second),
    "relu": Activation(relu, relu_derivative, relu_second),
}
"""Elementwise activations, for any layer."""

OUTPUT_ONLY = ("softmax",)
"""Activations over a whole row: a_j = e^z_j / Σ_i e^z_i."""


@functools.cache
def forward(name, size):
    """Kernel (a, z, rows, width, stride). Overwrites a (rows, width; rows `stride` apart): a = σ(z); a may be z.

    The elements between width and stride are computed too: rows end at whole vectors.
    """
    lanes = lanes_of(size)
    P = POINTERS[size]
    signature = VOID(P, P, INT, INT, INT)
    if name == "softmax":

        @kernel(signature, size)
        def softmax(a, z, rows, width, stride):
            wide_vectors()
            for _ in range(rows):
                top = max_lanes(row_maximum(z, width, lanes))
                total = sum_lanes(row_exponentials(a, z, top, width, lanes))
                for j in range(0, width, lanes):
                    mask = first(width - j, lanes)
                    store(shift(a, j), load(shift(a, j), mask) / total, mask)
                a, z = shift(a, stride), shift(z, stride)

        return softmax

    value = ACTIVATIONS[name].value

    @kernel(signature, name, size)
    def forward(a, z, rows, width, stride):
        wide_vectors()
        for i in range(0, rows * stride, lanes):
            store(shift(a, i), value(load(shift(z, i), every(lanes))), every(lanes))

    return forward


@functools.cache
def backward(name, size):
    """Kernel (dz, z, a, da, rows, width, stride). Overwrites dz: dz = σ'(z) da; dz may be da."""
    lanes = lanes_of(size)
    P = POINTERS[size]
    signature = VOID(P, P, P, P, INT, INT, INT)
    if name == "softmax":

        @kernel(signature, size)
        def softmax_backward(dz, z, a, da, rows, width, stride):
            wide_vectors()
            for _ in range(rows):
                dot = sum_lanes(row_dot(a, da, width, lanes))
                for j in range(0, width, lanes):
                    mask = first(width - j, lanes)
                    delta = load(shift(a, j), mask) * (load(shift(da, j), mask) - dot)
                    store(shift(dz, j), delta, mask)
                dz, a, da = shift(dz, stride), shift(a, stride), shift(da, stride)

        return softmax_backward

    derivative = ACTIVATIONS[name].derivative

    @kernel(signature, name, size)
    def backward(dz, z, a, da, rows, width, stride):
        wide_vectors()
        for i in range(0, rows * stride, lanes):
            slope = derivative(load(shift(z, i), every(lanes)), load(shift(a, i), every(lanes)))
            store(shift(dz, i), slope * load(shift(da, i), every(lanes)), every(lanes))

    return backward


@functools.cache
def second(name, size):
    """Kernel (out, z, a, rows, width, stride) of an elementwise activation. Overwrites out: out = σ''(z)."""
    lanes = lanes_of(size)
    P = POINTERS[size]
    function = ACTIVATIONS[name].second

    @kernel(VOID(P, P, P, INT, INT, INT), name, size)
    def second(out, z, a, rows, width, stride):
        wide_vectors()
        for i in range(0, rows * stride, lanes):
            curvature = function(load(shift(z, i), every(lanes)), load(shift(a, i), every(lanes)))
            store(shift(out, i), curvature, every(lanes))

    return second


# --- one row at a time: what softmax and its loss share -------------------------------------------------------------


@inline
def row_maximum(z, width, lanes):
    """Lane maxima of a row (the lanes beyond it at -inf)."""
    mask = first(width, lanes)
    x = load(z, mask)
    top = select(mask, x, -INFINITY(x))
    for j in range(lanes, width, lanes):
        mask = first(width - j, lanes)
        x = load(shift(z, j), mask)
        top = maximum(top, select(mask, x, -INFINITY(x)))
    return top


@inline
def row_exponentials(e, z, top, width, lanes):
    """Overwrites e (width): e_j = exp(z_j - top); returns the lanes' sums."""
    mask = first(width, lanes)
    x = load(z, mask)
    total = ZERO(x)
    for j in range(0, width, lanes):
        mask = first(width - j, lanes)
        x = exp(load(shift(z, j), mask) - top)
        store(shift(e, j), x, mask)
        total = total + select(mask, x, ZERO(x))
    return total


@inline
def row_dot(x, y, width, lanes):
    """Lane sums of Σ_j x_j y_j."""
    mask = first(width, lanes)
    total = load(x, mask) * load(y, mask)
    for j in range(lanes, width, lanes):
        mask = first(width - j, lanes)
        total = total + load(shift(x, j), mask) * load(shift(y, j), mask)
    return total
