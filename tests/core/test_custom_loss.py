"""The kernel of a user's loss touches its rows alone, and computes the user's functions in float64."""

import numpy as np
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, run, stride_of

from fastbp.core.layers.custom_loss import of_functions


def quartic(a, y):
    return (a - y) ** 4


def quartic_slope(a, y):
    return 4 * (a - y) ** 3


def test_costs_and_derivatives_are_the_users_for_every_width(size: int, guard: Guard) -> None:
    rng, kernel, dtype = np.random.default_rng(1), of_functions(quartic, quartic_slope, size), DTYPES[size]
    for width in WIDTHS:
        stride, rows = stride_of(width, size), 1 + width % 19
        d, x = (guard.empty((rows, stride), dtype) for _ in range(2))
        costs, spare = (guard.empty(rows, dtype) for _ in range(2))
        x[:, :width] = rng.normal(size=(rows, width))
        y = guard.copy(rng.normal(size=(rows, width)), dtype, writeable=False)
        weights = guard.copy(np.arange(rows) % 3, dtype, writeable=False)
        run(kernel, d, costs, spare, x, y, weights, 1, rows, width, stride, 0.25)
        difference, w = x[:, :width].astype("f8") - y, weights.astype("f8")
        np.testing.assert_allclose(costs, w * (difference**4).sum(axis=1), rtol=4 * np.finfo(dtype).eps)
        expected = 0.25 * w[:, None] * 4 * difference**3
        np.testing.assert_allclose(d[:, :width], expected, rtol=4 * np.finfo(dtype).eps)


def test_an_example_of_weight_0_costs_nothing_where_the_loss_is_infinite(size: int) -> None:
    kernel, dtype = of_functions(lambda a, y: 1 / a, lambda a, y: -1 / (a * a), size), DTYPES[size]
    x, y, weights = np.zeros((1, 16), dtype), np.zeros((1, 1), dtype), np.zeros(1, dtype)
    d, costs, spare = np.ones((1, 16), dtype), np.ones(1, dtype), np.ones(1, dtype)
    run(kernel, d, costs, spare, x, y, weights, 1, 1, 1, 16, 1.0)
    assert costs[0] == d[0, 0] == 0
