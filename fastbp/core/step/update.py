"""The kernel of an update rule, over a range of theta.

A kernel has the C signature (theta, gradient, moments, size, begin, end, biases, settings) and changes theta and the
moments (each `size` elements after the one before) for begin <= i < end. It reads only these elements of the gradient.
Elements from index `biases` on are biases, without weight decay. Settings are the optimizer's numbers for this update,
first the learning rate. If the new value or moment of an element would not be finite (for instance because the gradient
or its square overflows), the element keeps its value and moments; the kernel returns 1 if there is any, else 0.
"""

import functools
import math

from fastbp.core.formulas.optimizers import RULES
from fastbp.core.ir.kernel import DOUBLES, INT, POINTERS, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import every, first, load, shift, store
from fastbp.core.ir.traced import absolute, any_off, multiply_add, select, traced


@functools.cache
def update(name, size):
    """The kernel of a rule: m, v ← …, theta ← theta - step, for begin <= i < end."""
    lanes, P = lanes_of(size), POINTERS[size]
    moments, coefficients, step = RULES[name]

    def divisor_moment(m, v):
        """The moment in the step's denominator. If it overflows, the step is 0 and looks finite."""
        return v if moments > 1 else m

    @traced
    def updated(old, is_weight, g, m, v, c):
        new_m, new_v, change = step(select(is_weight, old, 0.0), g, m, v, c)
        new = old - change
        # infinity · 0 is NaN: one comparison checks both
        finite = absolute(multiply_add(divisor_moment(new_m, new_v), 0.0, new)) < math.inf
        return select(finite, new, old), select(finite, new_m, m), select(finite, new_v, v), any_off(finite)

    @inline
    def update_vector(theta, gradient, moment, n_theta, i, mask, biases, c):
        """One vector of elements; returns 1 if one of them would not be finite."""
        m_pointer, v_pointer = shift(moment, i), shift(moment, n_theta + i)
        g = load(shift(gradient, i), mask)
        m = load(m_pointer, mask) if moments > 0 else g
        v = load(v_pointer, mask) if moments > 1 else g
        old, is_weight = load(shift(theta, i), mask), first(biases - i, lanes)
        new, m, v, bad = updated(old, is_weight, g, m, v, c)
        store(shift(theta, i), new, mask)
        if moments > 0:
            store(m_pointer, m, mask)
        if moments > 1:
            store(v_pointer, v, mask)
        return bad

    @kernel(INT(P, P, P, INT, INT, INT, INT, DOUBLES), name, size)
    def update(theta, gradient, moment, n_theta, begin, end, biases, settings):
        wide_vectors()
        c = coefficients(settings)
        overflow = 0
        full_end = begin + (end - begin) // lanes * lanes
        for i in range(begin, full_end, lanes):
            overflow |= update_vector(theta, gradient, moment, n_theta, i, every(lanes), biases, c)
        if full_end < end:
            mask = first(end - full_end, lanes)
            overflow |= update_vector(theta, gradient, moment, n_theta, full_end, mask, biases, c)
        return overflow

    return update
