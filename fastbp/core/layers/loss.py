"""From the formulas of a loss to its kernel: cost and delta of the outputs from one function.

A kernel has the C signature (d, costs, spare, x, y, weights, w_row, rows, width, stride, scale) and, for each
example n, overwrites costs[n] = w_n C_n and d (rows, width; rows `stride` apart), scaled by w_n · scale:

    elementwise     x = a:  C_n = Σ_j c(a_j, y_j)    d = ∂C_n/∂a     then the output's backward makes dz of it
    fused           x = z:  a stable form of C_n in z     d = ∂C_n/∂z     for a loss with its own output

y holds `width` numbers a row, half as many for a loss of pairs, or one class index a row for the kernels of classes;
weights are w_row (0 or 1) apart. `spare` has room for `rows` numbers. What a kernel makes of an example of weight 0
does not count: `forward_backward.backward` and `embedded.evaluate` take it for absent.
"""

import functools
import math

from fastbp.core.formulas.losses import LOSSES
from fastbp.core.ir.kernel import kernel, lanes_of, loss_signature, wide_vectors
from fastbp.core.ir.memory import every, fill, first, load, on_stack, rounded, shift, store
from fastbp.core.ir.traced import minimum, select, sum_of, traced
from fastbp.core.layers import softmax
from fastbp.core.layers.packed_outputs import elementwise_of_few
from fastbp.core.layers.softmax.wide import class_of, logarithm
from fastbp.core.matmul.few_rows import sums_of_rows
from fastbp.core.matmul.forms import packs_examples

# --- sums over the outputs ------------------------------------------------------------------------------------------


@functools.cache
def elementwise(value, derivative, size, parameters=()):
    """The kernel of c(a, y, *parameters) or its stable form in z, and its derivative; the parameters are constants."""
    lanes = lanes_of(size)
    add_value = traced(lambda mask, x, y, total: total + select(mask, value(x, y, *parameters), 0.0))
    delta = traced(lambda mask, x, y, factor: (
        select(mask & (x.spread(factor) != 0.0), derivative(x, y, *parameters) * factor, 0.0)
    ))  # fmt: skip
    weigh = traced(lambda x, weight: select(x.spread(weight) == 0.0, 0.0, x * weight))
    square = lanes * lanes

    @kernel(loss_signature(size), value.__name__, size, *parameters)
    def elementwise(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        parts = on_stack(x, square)  # c(a_j, y_j) summed to one vector, for `lanes` examples
        last = (width - 1) // lanes * lanes
        mask, whole = first(width - last, lanes), every(lanes)
        for begin in range(0, rows, lanes):
            count = minimum(rows - begin, lanes)
            for i in range(count):
                weight = weights[(begin + i) * w_row]
                total = fill(x, 0.0, lanes)
                for j in range(0, last, lanes):
                    x_j, y_j = load(shift(x, j), whole), load(shift(y, j), whole)
                    total = add_value(whole, x_j, y_j, total)
                    store(shift(d, j), delta(whole, x_j, y_j, weight * scale), whole)
                x_j, y_j = load(shift(x, last), whole), load(shift(y, last), mask)
                total = add_value(mask, x_j, y_j, total)
                store(shift(d, last), delta(mask, x_j, y_j, weight * scale), whole)  # rows end at whole vectors
                store(shift(parts, i * lanes), weigh(total, weight), whole)
                d, x, y = shift(d, stride), shift(x, stride), shift(y, width)
            store(shift(costs, begin), sums_of_rows(parts, lanes), first(count, lanes))

    return elementwise


@functools.cache
def of_pairs(value, derivative, width, size, parameters=()):
    """The kernel of c(m, s, y), where the outputs are all m, then all s: C_n = Σ_j c(m_j, s_j, y_j)."""
    lanes = lanes_of(size)
    add_value = traced(lambda mask, m, s, y, total: total + select(mask, value(m, s, y, *parameters), 0.0))

    def delta(i):
        return traced(
            lambda m, s, y, factor: select(m.spread(factor) == 0.0, 0.0, derivative(m, s, y, *parameters)[i] * factor)
        )

    delta_m, delta_s = delta(0), delta(1)

    @kernel(loss_signature(size), value.__name__, size, *parameters)
    def of_pairs(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        half = width // 2
        for n in range(rows):
            weight = weights[n * w_row]
            total = fill(x, 0.0, lanes)
            for j in range(0, half, lanes):
                mask = first(half - j, lanes)
                m, s, y_j = load(shift(x, j), mask), load(shift(x, half + j), mask), load(shift(y, j), mask)
                total = add_value(mask, m, s, y_j, total)
                store(shift(d, j), delta_m(m, s, y_j, weight * scale), mask)
                store(shift(d, half + j), delta_s(m, s, y_j, weight * scale), mask)
            costs[n] = weight * sum_of(total) if weight != 0.0 else weight
            d, x, y = shift(d, stride), shift(x, stride), shift(y, half)

    return of_pairs


# --- one class for each example -------------------------------------------------------------------------------------


@functools.cache
def of_classes(size):
    """Cross-entropy of class indices with any output: C_n = -log a_c, da_c = -1 / a_c, the other da_j = 0.

    A number that is no index of an output makes cost and deltas NaN.
    """
    lanes = lanes_of(size)

    @kernel(loss_signature(size), size)
    def of_classes(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        for n in range(rows):
            c, weight = class_of(y[n], width), weights[n * w_row]
            for j in range(0, width, lanes):
                store(shift(d, j), fill(d, 0.0 if c >= 0 else math.nan, lanes), first(width - j, lanes))
            costs[n] = x[c] if c >= 0 else rounded(math.nan, x)
            if weight != 0.0 and c >= 0:
                d[c] = rounded(-(weight * scale) / x[c], d)
            d, x = shift(d, stride), shift(x, stride)
        for n in range(0, rows, lanes):
            mask = first(rows - n, lanes)
            store(shift(costs, n), logarithm(load(shift(costs, n), mask)), mask)
        for n in range(rows):
            weight = weights[n * w_row]
            costs[n] = -weight * costs[n] if weight != 0.0 else weight

    return of_classes


# --- which kernel a loss is made into -------------------------------------------------------------------------------


def of_outputs(value, derivative, width, size, parameters=()):
    """The kernel of Σ_j c(a_j, y_j), or of its stable form in z."""
    if packs_examples(width, size):
        return elementwise_of_few(value, derivative, size, width, parameters)
    return elementwise(value, derivative, size, parameters)


OF_SOFTMAX = {"cross_entropy": softmax.cross_entropy, "kullback_leibler": softmax.divergence}
"""What makes the kernel of a stable form over all z of an example, from (classes, width, size)."""


def loss_kernel(name, output, width, classes, size, fused=True, parameters=()):
    """(kernel, whether it is fused) for a loss on `width` outputs; fused=False asks for the chain rule as it stands."""
    row = LOSSES[name]
    if fused and row.own_output == output:
        return OF_SOFTMAX[name](classes, width, size) if row.fused is None else of_outputs(
            *row.fused, width, size
        ), True
    if classes:
        return of_classes(size), False
    make = of_pairs if row.outputs == 2 else of_outputs
    return make(row.value, row.derivative, width, size, parameters), False
