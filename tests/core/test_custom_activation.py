"""Kernels of a user's activation touch its rows alone, and compute the user's functions."""

import numpy as np
from custom_functions import bump, bump_curvature, bump_slope
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, close, run, stride_of

from fastbp.core.layers import custom_activation


def test_value_and_derivatives_are_the_users_for_every_width(size: int, guard: Guard) -> None:
    rng = np.random.default_rng(1)
    kernels = (
        custom_activation.forward(bump, size),
        custom_activation.backward(bump_slope, size),
        custom_activation.second(bump_curvature, size),
    )
    forward, backward, second = kernels
    for width in WIDTHS:
        stride, rows = stride_of(width, size), 1 + width % 4
        z, a, da, dz, out = (guard.empty((rows, stride), DTYPES[size]) for _ in range(5))
        z[:, :width], da[:, :width] = rng.normal(size=(2, rows, width))
        run(forward, a, z, rows, width, stride)
        run(backward, dz, z, a, da, rows, width, stride)
        run(second, out, z, a, rows, width, stride)
        z8, da8 = z[:, :width].astype("f8"), da[:, :width].astype("f8")
        for found, expected in (
            (a, np.vectorize(bump)(z8)),
            (dz, np.vectorize(bump_slope)(z8) * da8),
            (out, np.vectorize(bump_curvature)(z8)),
        ):
            close(found[:, :width], expected, size)
            assert np.isnan(found[:, width:]).all(), "the elements between width and stride are left alone"
