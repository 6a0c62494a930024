"""σ'' in the forms that derivatives need, for every width, beside the twin's second derivatives."""

import numpy as np
import pytest
import twin
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, close, run, stride_of

from fastbp.core.derivatives import second_order

NAMES = ["identity", "sigmoid", "tanh", "relu", "silu", "sin", "softmax"]


def expected_second(name, z, z_t, u, u_t):
    """The derivative of u σ'(z) along (z', u') = J(z) u, from the twin's derivatives."""
    if name != "softmax":
        activation = twin.ACTIVATIONS[name]
        return activation.second(z) * z_t * u + activation.first(z) * u_t
    a = twin.ACTIVATIONS[name].value(z)

    def times_jacobian(a, x):
        return a * (x - (a * x).sum(axis=1, keepdims=True))

    a_t = times_jacobian(a, z_t)
    bent = a_t * (u - (a * u).sum(axis=1, keepdims=True)) - a * (a_t * u).sum(axis=1, keepdims=True)
    return bent + times_jacobian(a, u_t)


@pytest.mark.parametrize("name", NAMES)
def test_second_and_bend_are_the_twins_for_every_width(name: str, size: int, guard: Guard) -> None:
    rng = np.random.default_rng(1)
    for width in WIDTHS:
        stride, rows = stride_of(width, size), 1 + width % 3
        z, a, z_t, a_t, u, u_t, out = (guard.empty((rows, stride), DTYPES[size]) for _ in range(7))
        for array in (z, z_t, u, u_t):
            array[:, :width] = rng.normal(size=(rows, width))
        z8, z_t8, u8, u_t8 = (x[:, :width].astype("f8") for x in (z, z_t, u, u_t))
        a[:, :width] = twin.ACTIVATIONS[name].value(z8)
        if name == "softmax":
            a8 = a[:, :width].astype("f8")
            a_t[:, :width] = a8 * (z_t8 - (a8 * z_t8).sum(axis=1, keepdims=True))
        run(second_order.second(name, size), out, z, a, z_t, a_t, u, u_t, rows, width, stride)
        close(out[:, :width], expected_second(name, z8, z_t8, u8, u_t8), size)
        out[:, :width] = u_t[:, :width]
        run(second_order.bend(name, size), out, z, a, z_t, a_t, u, rows, width, stride)
        close(out[:, :width] - u_t[:, :width], expected_second(name, z8, z_t8, u8, 0 * u_t8), size)
