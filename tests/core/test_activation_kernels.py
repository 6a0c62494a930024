"""Activations of whole rows, forward and backward, for every width."""

import numpy as np
import pytest
import twin
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, close, run, stride_of

from fastbp.core.layers import activation_kernels


@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh", "relu", "silu", "sin", "softmax"])  # others are alike
def test_forward_and_backward_are_the_twins_for_every_width(name: str, size: int, guard: Guard) -> None:
    rng = np.random.default_rng(1)
    for width in WIDTHS:
        stride, rows = stride_of(width, size), 1 + width % 4
        z, a, da, dz = (guard.empty((rows, stride), DTYPES[size]) for _ in range(4))
        z[:, :width] = rng.normal(size=(rows, width))
        da[:, :width] = rng.normal(size=(rows, width))
        run(activation_kernels.forward(name, size, width), a, z, rows, width, stride)
        run(activation_kernels.backward(name, size), dz, z, a, da, rows, width, stride)
        z8, a8, da8 = (x[:, :width].astype("f8") for x in (z, a, da))
        close(a8, twin.ACTIVATIONS[name].value(z8), size)
        if name == "softmax":
            close(dz[:, :width], a8 * (da8 - (a8 * da8).sum(axis=1, keepdims=True)), size)
        else:
            close(dz[:, :width], twin.ACTIVATIONS[name].first(z8) * da8, size)
