"""Update rules, one each, over a range of theta; and the kernels made from a row of the table.

A kernel has the C signature (theta, gradient, moments, size, begin, end, settings, t) and changes theta and the
moments (each `size` elements after the one before) for begin <= i < end; t counts the updates from 1; settings are
the optimizer's numbers. An element that would overflow keeps its value; the kernel returns 1 if there is any, else 0.
"""

import functools
from typing import Any, NamedTuple

from .compile import DOUBLES, INT, POINTERS, inline, kernel, lanes_of, wide_vectors
from .elementary import INFINITY
from .simd import absolute, first, load, not_all, select, shift, sqrt, store


class Rule(NamedTuple):
    """A row of the table: how many moments; coefficients(settings, t) -> floats; step(g, m, v, c) -> m, v, step."""

    moments: int
    coefficients: Any
    step: Any


@inline
def power(base, n):
    """base^n for integers n >= 0, by squaring."""
    result = 1.0
    while n > 0:
        if n & 1:
            result *= base
        base *= base
        n >>= 1
    return result


@inline
def sgd_coefficients(settings, t):
    """lr"""
    return (settings[0],)


@inline
def sgd_step(g, m, v, c):
    """lr g"""
    return m, v, c[0] * g


@inline
def momentum_coefficients(settings, t):
    """lr, μ, and the weights of g and m in the step: (1, μ) with Nesterov's, (0, 1) without"""
    nesterov = settings[2]
    return settings[0], settings[1], nesterov, nesterov * settings[1] + (1.0 - nesterov)


@inline
def momentum_step(g, m, v, c):
    """m ← μ m + g; lr m, with Nesterov's lr (g + μ m)  (Sutskever et al., ICML 2013)"""
    m = c[1] * m + g
    return m, v, c[0] * (c[2] * g + c[3] * m)


@inline
def adam_coefficients(settings, t):
    """lr / (1 - β1^t), β1, 1 - β1, β2, 1 - β2, 1 / (1 - β2^t), ε"""
    lr, beta_1, beta_2, epsilon = settings[0], settings[1], settings[2], settings[3]
    correction_1, correction_2 = 1.0 - power(beta_1, t), 1.0 - power(beta_2, t)
    return lr / correction_1, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, 1.0 / correction_2, epsilon


@inline
def adam_step(g, m, v, c):
    """m ← β1 m + (1 - β1) g; v ← β2 v + (1 - β2) g²; lr m̂ / (√v̂ + ε)  (Kingma and Ba, ICLR 2015)"""
    m = c[1] * m + c[2] * g
    v = c[3] * v + c[4] * (g * g)
    return m, v, c[0] * m / (sqrt(c[5] * v) + c[6])


RULES = {
    "sgd": Rule(0, sgd_coefficients, sgd_step),
    "momentum": Rule(1, momentum_coefficients, momentum_step),
    "adam": Rule(2, adam_coefficients, adam_step),
}


@functools.cache
def update(name, size):
    """The kernel of a rule: m, v ← …, theta ← theta - step, for begin <= i < end."""
    lanes = lanes_of(size)
    P = POINTERS[size]
    moments, coefficients, step = RULES[name]
    m_stride, v_stride = int(moments > 0), int(moments > 1)

    @kernel(INT(P, P, P, INT, INT, INT, DOUBLES, INT), name, size)
    def update(theta, gradient, moments, n_theta, begin, end, settings, t):
        wide_vectors()
        c = coefficients(settings, t)
        overflow = 0
        for i in range(begin, end, lanes):
            mask = first(end - i, lanes)
            old, g = load(shift(theta, i), mask), load(shift(gradient, i), mask)
            m_at, v_at = shift(moments, i), shift(moments, n_theta + i)
            m = load(m_at, mask) if m_stride else g
            v = load(v_at, mask) if v_stride else g
            m, v, change = step(g, m, v, c)
            new = old - change
            finite = absolute(new) < INFINITY(new)
            overflow |= not_all(finite)
            store(shift(theta, i), select(finite, new, old), mask)
            if m_stride:
                store(m_at, m, mask)
            if v_stride:
                store(v_at, v, mask)
        return overflow

    return update
