"""The kernels of a loss's second derivative along a direction: the twins of those in layers/loss.py.

A kernel has the C signature (out, a, a_t, y, weights, w_row, rows, width, stride, scale) and, for each example n,
overwrites out (rows, width; rows `stride` apart), with f = w_n · scale:

    elementwise                          out_j = f ∂²c/∂a_j² a'_j         which is da'
    pairs (m, s)                         out = f H a', H the 2 x 2 matrix of second derivatives of c(m, s, y)
    class indices                        out_c = f a'_c / a_c², the other out_j = 0
    fused, class indices or sums         out_j = f a'_j                   which is dz', as dz_j = f (a_j - y_j)
    fused, rows of probabilities         out_j = f a'_j Σ_i y_i           which is dz', as dz_j = f (a_j Σ_i y_i - y_j)
"""

import functools
import math

from fastbp.core.formulas.losses import LOSSES
from fastbp.core.ir.kernel import DOUBLE, INT, POINTERS, VOID, Kernel, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import fill, first, load, rounded, shift, store
from fastbp.core.ir.traced import plus, sum_of, traced
from fastbp.core.layers.custom_loss import of_two_numbers
from fastbp.core.layers.softmax.wide import class_of

times = traced(lambda a_t, factor: a_t * factor)


def loss_second_signature(size):
    """Of every kernel here."""
    P = POINTERS[size]
    return VOID(P, P, P, P, P, INT, INT, INT, INT, DOUBLE)


@functools.cache
def elementwise(second, size, parameters=()):
    """The kernel of ∂²c/∂a²(a, y, *parameters); the parameters are constants."""
    lanes = lanes_of(size)
    curved = traced(lambda a, a_t, y, factor: second(a, y, *parameters) * a_t * factor)

    @kernel(loss_second_signature(size), second.__name__, size, *parameters)
    def elementwise(out, a, a_t, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            factor = weights[n * w_row] * scale
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                a_j, a_tj, y_j = load(shift(a, j), mask), load(shift(a_t, j), mask), load(shift(y, j), mask)
                store(shift(out, j), curved(a_j, a_tj, y_j, factor), mask)
            out, a, a_t, y = shift(out, stride), shift(a, stride), shift(a_t, stride), shift(y, width)

    return elementwise


@functools.cache
def of_pairs(second, size, parameters=()):
    """The kernel of ∂²c/∂m², ∂²c/∂m∂s, ∂²c/∂s² of c(m, s, y), where the outputs are all m, then all s."""
    lanes = lanes_of(size)

    @traced
    def curved_m(m, s, m_t, s_t, y, factor):
        mm, ms, _ = second(m, s, y, *parameters)
        return (mm * m_t + ms * s_t) * factor

    @traced
    def curved_s(m, s, m_t, s_t, y, factor):
        _, ms, ss = second(m, s, y, *parameters)
        return (ms * m_t + ss * s_t) * factor

    @kernel(loss_second_signature(size), second.__name__, size, *parameters)
    def of_pairs(out, a, a_t, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        half = width // 2
        for n in range(rows):
            factor = weights[n * w_row] * scale
            for j in range(0, half, lanes):
                mask = first(half - j, lanes)
                m, s, y_j = load(shift(a, j), mask), load(shift(a, half + j), mask), load(shift(y, j), mask)
                m_t, s_t = load(shift(a_t, j), mask), load(shift(a_t, half + j), mask)
                store(shift(out, j), curved_m(m, s, m_t, s_t, y_j, factor), mask)
                store(shift(out, half + j), curved_s(m, s, m_t, s_t, y_j, factor), mask)
            out, a, a_t, y = shift(out, stride), shift(a, stride), shift(a_t, stride), shift(y, half)

    return of_pairs


@functools.cache
def of_classes(size):
    """The kernel of cross-entropy of class indices with any output; NaN for what is no class index."""
    lanes = lanes_of(size)

    @kernel(loss_second_signature(size), size)
    def of_classes(out, a, a_t, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            c = class_of(y[n], width)
            for j in range(0, width, lanes):
                store(shift(out, j), fill(out, 0.0 if c >= 0 else math.nan, lanes), first(width - j, lanes))
            if c >= 0:
                out[c] = rounded(weights[n * w_row] * scale * a_t[c] / (a[c] * a[c]), out)
            out, a, a_t = shift(out, stride), shift(a, stride), shift(a_t, stride)

    return of_classes


@functools.cache
def of_probabilities(size):
    """The kernel of softmax with cross-entropy or divergence, of rows of probabilities, whatever their sum is."""
    lanes = lanes_of(size)

    @kernel(loss_second_signature(size), size)
    def of_probabilities(out, a, a_t, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            total = fill(out, 0.0, lanes)
            for j in range(0, width, lanes):
                total = plus(total, load(shift(y, j), first(width - j, lanes)))
            factor = weights[n * w_row] * scale * sum_of(total)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                store(shift(out, j), times(load(shift(a_t, j), mask), factor), mask)
            out, a_t, y = shift(out, stride), shift(a_t, stride), shift(y, width)

    return of_probabilities


@functools.cache
def of_own_output(classes, size):
    """The kernel of a fused loss of class indices, or of sums over the outputs; NaN for what is no class index."""
    lanes = lanes_of(size)

    @kernel(loss_second_signature(size), classes, size)
    def of_own_output(out, a, a_t, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            factor = weights[n * w_row] * scale
            if classes and class_of(y[n], width) < 0:
                factor = math.nan
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                store(shift(out, j), times(load(shift(a_t, j), mask), factor), mask)
            out, a_t = shift(out, stride), shift(a_t, stride)

    return of_own_output


@functools.cache  # tables name the kernel by its address, as long as the process lives
def of_function(second, size, convex):
    """The kernel of a user's ∂²c/∂a², in float64; convex: 0 in its place where it is negative."""
    curvature = of_two_numbers(second)

    def custom(out, a, a_t, y, weights, w_row, rows, width, stride, scale):
        for n in range(rows):
            factor = weights[n * w_row] * scale
            for j in range(width):
                bend = curvature(a[j], y[j])
                if convex and bend < 0.0:
                    bend = 0.0
                out[j] = rounded(bend * a_t[j] * factor, out)
            out, a, a_t, y = shift(out, stride), shift(a, stride), shift(a_t, stride), shift(y, width)

    return Kernel(custom, loss_second_signature(size), None)


def loss_second_kernel(name, fused, classes, size, parameters=()):
    """The kernel for a loss of the table; fused: whether that of `loss_kernel` is, which makes dz."""
    row = LOSSES[name]
    if not fused:
        if classes:
            return of_classes(size)
        make = of_pairs if row.outputs == 2 else elementwise
        return make(row.second, size, parameters)
    return of_own_output(classes, size) if classes or row.fused is not None else of_probabilities(size)
