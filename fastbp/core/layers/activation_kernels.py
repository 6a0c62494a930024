"""The kernels of activations, made from a row of the table (see formulas/activations.py); softmax/ has that of rows.

forward     a_j = σ(z_j)
backward    dz_j = σ'(z_j) da_j
"""

import functools

from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, registers, wide_vectors
from fastbp.core.ir.memory import every, load, shift, store
from fastbp.core.ir.traced import traced
from fastbp.core.layers import custom_activation, softmax

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


def forward_lanes(size):
    """Lanes of σ: those of several vectors, with four registers each.

    With one vector, each operation would wait for the one before it.
    """
    return lanes_of(size) * registers()[1] // 4


BACKWARD_VECTORS = 4
"""Vectors of σ' at once: it reads three arrays, which would not come faster to more."""


@functools.cache
def forward(activation, size, width):
    """Kernel (a, z, rows, width, stride). Overwrites a (rows, width; rows `stride` apart): a = σ(z); a may be z.

    The elements between width and stride are computed too: rows end at whole vectors. Of a name in the table, or of an
    object with the user's own functions (see layers/custom_activation.py).
    """
    if activation == "softmax":
        return softmax.forward(width, size)
    if not isinstance(activation, str):
        return custom_activation.forward(activation.value, size)
    lanes, wide, P = lanes_of(size), forward_lanes(size), POINTERS[size]
    value = traced(ACTIVATIONS[activation].value)

    @kernel(VOID(P, P, INT, INT, INT), activation, size)
    def forward(a, z, rows, width, stride):
        wide_vectors()
        count, mask, one = rows * stride, every(wide), every(lanes)
        whole = count // wide * wide
        for i in range(0, whole, wide):
            store(shift(a, i), value(load(shift(z, i), mask)), mask)
        for i in range(whole, count, lanes):
            store(shift(a, i), value(load(shift(z, i), one)), one)

    return forward


@functools.cache
def backward(activation, size):
    """Kernel (dz, z, a, da, rows, width, stride). Overwrites dz: dz = σ'(z) da; dz may be da."""
    if activation == "softmax":
        return softmax.backward(size)
    if not isinstance(activation, str):
        return custom_activation.backward(activation.derivative, size)
    lanes, wide, P = lanes_of(size), BACKWARD_VECTORS * lanes_of(size), POINTERS[size]
    derivative = ACTIVATIONS[activation].derivative
    delta = traced(lambda z, a, da: derivative(z, a) * da)

    @kernel(VOID(P, P, P, P, INT, INT, INT), activation, size)
    def backward(dz, z, a, da, rows, width, stride):
        wide_vectors()
        count, mask, one = rows * stride, every(wide), every(lanes)
        whole = count // wide * wide
        for i in range(0, whole, wide):
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
