"""The kernels of activations, made from a row of the table (see formulas/activations.py), and those of softmax.

forward     a_j = σ(z_j)
backward    dz_j = σ'(z_j) da_j          (softmax: dz_j = a_j (da_j - Σ_i a_i da_i))
"""

import functools
import math

from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.formulas.elementary import exp
from fastbp.core.ir.kernel import INT, POINTERS, VOID, inline, kernel, lanes_of, registers, wide_vectors
from fastbp.core.ir.memory import every, fill, first, load, on_stack, shift, store
from fastbp.core.ir.traced import max_of, maximum, minimum, plus, select, sum_of, traced
from fastbp.core.layers import custom_activation
from fastbp.core.layers.packed_outputs import are_few_classes, softmax_of_few
from fastbp.core.matmul.transpose import NARROW, columns_for, is_narrow, transpose_back, transpose_columns

OUTPUT_ONLY = ("softmax",)
"""Activations over a whole row: a_j = e^z_j / Σ_i e^z_i."""


def reads_z(activation):
    """Whether the derivatives read z, so that it must be kept."""
    if activation in OUTPUT_ONLY:
        return False
    return not isinstance(activation, str) or ACTIVATIONS[activation].reads_z


def is_short(activation):
    """Whether a sum goes through σ before it is stored: see formulas/activations.py."""
    return activation in ACTIVATIONS and ACTIVATIONS[activation].short


def has_short_derivative(activation):
    """Whether a delta goes through σ' before it is stored: see formulas/activations.py."""
    return activation in ACTIVATIONS and ACTIVATIONS[activation].short_derivative


def side_by_side(size):
    """Numbers whose σ is computed at once: several vectors, with four registers each.

    Of one alone, each operation would wait for the one before it.
    """
    return lanes_of(size) * registers()[1] // 4


SLOPES = 4
"""Vectors whose σ' is computed at once: it reads three arrays, which would not come faster to more."""


@functools.cache
def forward(activation, size, width):
    """Kernel (a, z, rows, width, stride). Overwrites a (rows, width; rows `stride` apart): a = σ(z); a may be z.

    The elements between width and stride are computed too: rows end at whole vectors. Of a name in the table, or of an
    object with the user's own functions (see layers/custom_activation.py).
    """
    if activation == "softmax":
        if are_few_classes(width, size):
            return softmax_of_few(size, width)
        return narrow_softmax(size, columns_for(width, size)) if is_narrow(width, size) else wide_softmax(size)
    if not isinstance(activation, str):
        return custom_activation.forward(activation.value, size)
    lanes, some, P = lanes_of(size), side_by_side(size), POINTERS[size]
    value = traced(ACTIVATIONS[activation].value)

    @kernel(VOID(P, P, INT, INT, INT), activation, size)
    def forward(a, z, rows, width, stride):
        wide_vectors()
        count, mask, one = rows * stride, every(some), every(lanes)
        whole = count // some * some
        for i in range(0, whole, some):
            store(shift(a, i), value(load(shift(z, i), mask)), mask)
        for i in range(whole, count, lanes):
            store(shift(a, i), value(load(shift(z, i), one)), one)

    return forward


@functools.cache
def backward(activation, size):
    """Kernel (dz, z, a, da, rows, width, stride). Overwrites dz: dz = σ'(z) da; dz may be da."""
    if activation == "softmax":
        return softmax_backward(size)
    if not isinstance(activation, str):
        return custom_activation.backward(activation.derivative, size)
    lanes, some, P = lanes_of(size), SLOPES * lanes_of(size), POINTERS[size]
    derivative = ACTIVATIONS[activation].derivative
    delta = traced(lambda z, a, da: derivative(z, a) * da)

    @kernel(VOID(P, P, P, P, INT, INT, INT), activation, size)
    def backward(dz, z, a, da, rows, width, stride):
        wide_vectors()
        count, mask, one = rows * stride, every(some), every(lanes)
        whole = count // some * some
        for i in range(0, whole, some):
            d = delta(load(shift(z, i), mask), load(shift(a, i), mask), load(shift(da, i), mask))
            store(shift(dz, i), d, mask)
        for i in range(whole, count, lanes):
            d_i = delta(load(shift(z, i), one), load(shift(a, i), one), load(shift(da, i), one))
            store(shift(dz, i), d_i, one)

    return backward


@functools.cache
def second(activation, size):
    """Kernel (out, z, a, rows, width, stride) of an elementwise activation. Overwrites out: out = σ''(z)."""
    if not isinstance(activation, str):
        return custom_activation.second(activation.second, size)
    lanes, P = lanes_of(size), POINTERS[size]
    curvature = traced(ACTIVATIONS[activation].second)

    @kernel(VOID(P, P, P, INT, INT, INT), activation, size)
    def second(out, z, a, rows, width, stride):
        wide_vectors()
        for i in range(0, rows * stride, lanes):
            store(
                shift(out, i), curvature(load(shift(z, i), every(lanes)), load(shift(a, i), every(lanes))), every(lanes)
            )

    return second


# --- softmax --------------------------------------------------------------------------------------------------------

larger_lanes = traced(maximum)
exp_below = traced(lambda z, top: exp(z - top))
larger = traced(lambda mask, x, top: maximum(top, select(mask, x, -math.inf)))
shifted_exp = traced(lambda mask, x, top: select(mask, exp(x - top), 0.0))
add_product = traced(lambda x, y, total: x * y + total)
divide = traced(lambda x, y: x / y)


@inline
def exponentials(e, z, width, lanes):
    """Overwrites e (width): e_j = exp(z_j - max z); returns max z and Σ_j e_j. e may be z."""
    tops, totals = fill(z, -math.inf, lanes), fill(z, 0.0, lanes)
    for j in range(0, width, lanes):
        mask = first(width - j, lanes)
        tops = larger(mask, load(shift(z, j), mask), tops)
    top = max_of(tops)
    for j in range(0, width, lanes):
        mask = first(width - j, lanes)
        x = shifted_exp(mask, load(shift(z, j), mask), top)
        store(shift(e, j), x, mask)
        totals = plus(totals, x)
    return top, sum_of(totals)


@inline
def turned(tile, z, stride, count, width, columns, lanes):
    """Overwrites tile (width, lanes): the z_j of `count` examples side by side, turned `columns` at a time.

    Returns their max z.
    """
    for j in range(0, width, columns):
        transpose_columns(shift(tile, j * lanes), shift(z, j), stride, count, columns, lanes)
    top = load(tile, every(lanes))
    for j in range(1, width):
        top = larger_lanes(top, load(shift(tile, j * lanes), every(lanes)))
    return top


@inline
def turned_back(out, stride, tile, count, width, columns, lanes):
    """Overwrites out (count, width; rows `stride` apart) by tile (width, lanes)."""
    for j in range(0, width, columns):
        transpose_back(shift(out, j), stride, shift(tile, j * lanes), count, columns, lanes)


@functools.cache
def narrow_softmax(size, columns):
    """As `wide_softmax`, of few outputs, turned `columns` at a time: as many examples as a vector has lanes go side by
    side.
    """
    lanes, square, P = lanes_of(size), NARROW * lanes_of(size) ** 2, POINTERS[size]

    @kernel(VOID(P, P, INT, INT, INT), size, columns)
    def narrow_softmax(a, z, rows, width, stride):
        wide_vectors()
        tile = on_stack(z, square)
        whole = every(lanes)
        for n in range(0, rows, lanes):
            count, total = minimum(rows - n, lanes), fill(z, 0.0, lanes)
            top = turned(tile, shift(z, n * stride), stride, count, width, columns, lanes)
            for j in range(width):
                e = exp_below(load(shift(tile, j * lanes), whole), top)
                total = plus(total, e)
                store(shift(tile, j * lanes), e, whole)
            for j in range(width):
                store(shift(tile, j * lanes), divide(load(shift(tile, j * lanes), whole), total), whole)
            turned_back(shift(a, n * stride), stride, tile, count, width, columns, lanes)

    return narrow_softmax


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
