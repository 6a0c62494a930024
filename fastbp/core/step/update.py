"""The kernel of an update rule, over a range of theta.

A kernel has the C signature (theta, gradient, moments, size, begin, end, biases, settings) and changes theta and the
moments (each `size` elements after the one before) for begin <= i < end; of the gradient it reads these elements only;
from `biases` on, elements are no weights; settings are the optimizer's numbers for this update, first the learning
rate. Where an element or one of its moments would not be finite, as where its gradient is not or the square of that, it
keeps its value and moments; the kernel returns 1 if there is any, else 0.
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

    def last(m, v):
        """The moment that a step may be divided by: where it is infinite the step is 0, and not to be seen in it."""
        return v if moments > 1 else m

    @traced
    def changed(old, is_weight, g, m, v, c):
        new_m, new_v, change = step(select(is_weight, old, 0.0), g, m, v, c)
        new = old - change
        finite = absolute(multiply_add(last(new_m, new_v), 0.0, new)) < math.inf
        return select(finite, new, old), select(finite, new_m, m), select(finite, new_v, v), any_off(finite)

    @inline
    def change(theta, gradient, moment, n_theta, i, mask, biases, c):
        """One vector of elements; returns 1 if one of them would not be finite."""
        m_at, v_at = shift(moment, i), shift(moment, n_theta + i)
        g = load(shift(gradient, i), mask)
        m = load(m_at, mask) if moments > 0 else g
        v = load(v_at, mask) if moments > 1 else g
        old, is_weight = load(shift(theta, i), mask), first(biases - i, lanes)
        new, m, v, bad = changed(old, is_weight, g, m, v, c)
        store(shift(theta, i), new, mask)
        if moments > 0:
            store(m_at, m, mask)
        if moments > 1:
            store(v_at, v, mask)
        return bad

    @kernel(INT(P, P, P, INT, INT, INT, INT, DOUBLES), name, size)
    def update(theta, gradient, moment, n_theta, begin, end, biases, settings):
        wide_vectors()
        c = coefficients(settings)
        overflow = 0
        whole = begin + (end - begin) // lanes * lanes
        for i in range(begin, whole, lanes):
            overflow |= change(theta, gradient, moment, n_theta, i, every(lanes), biases, c)
        if whole < end:
            overflow |= change(theta, gradient, moment, n_theta, whole, first(end - whole, lanes), biases, c)
        return overflow

    return update
