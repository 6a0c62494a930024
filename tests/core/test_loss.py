"""Costs and their derivatives by the outputs, of whole rows, for every width."""

from collections.abc import Callable

import numpy as np
import pytest
import twin
from guard import Guard
from kernel_calls import DTYPES, EPSILON, WIDTHS, run, stride_of

from fastbp.core.formulas import losses
from fastbp.core.layers.loss import loss_kernel

COST: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "squared_error": lambda a, y: (a - y) ** 2,
    "half_squared_error": lambda a, y: (a - y) ** 2 / 2,
    "cross_entropy": lambda a, y: -y * np.log(a),
    "binary_cross_entropy": lambda a, y: -y * np.log(a) - (1 - y) * np.log1p(-a),
    "kullback_leibler": lambda a, y: y * np.log(y / a),
}
KINDS_OF_LOSS = [
    *((name, False, False) for name in COST if name != "kullback_leibler"),
    *((name, True, False) for name in COST if name in losses.OWN_OUTPUT),
    ("cross_entropy", False, True),
    ("cross_entropy", True, True),
]


@pytest.mark.parametrize(("name", "fused", "classes"), KINDS_OF_LOSS)
def test_costs_and_derivatives_are_the_twins_for_every_width(
    name: str, fused: bool, classes: bool, size: int, guard: Guard
) -> None:
    rng = np.random.default_rng(2)
    dtype, output = DTYPES[size], losses.OWN_OUTPUT.get(name, "identity")
    for width in WIDTHS:
        kernel, is_fused = loss_kernel(name, output, width, classes, size, fused)
        assert is_fused == fused
        rows, stride = 1 + width % 19, stride_of(width, size)
        z = rng.normal(size=(rows, width)).astype(dtype)
        a = twin.ACTIVATIONS[output].value(z)
        target = rng.integers(0, width, rows) if classes else twin.softmax(rng.normal(size=(rows, width)))
        d, x = (guard.empty((rows, stride), dtype) for _ in range(2))
        costs, spare = (guard.empty(rows, dtype) for _ in range(2))
        x[:, :width] = z if fused else a
        y = guard.copy(target, dtype, writeable=False)
        weights = guard.copy(np.linspace(0.5, 2, rows), dtype, writeable=False)
        run(kernel, d, costs, spare, x, y, weights, 1, rows, width, stride, 0.25)
        rows_of_y = np.eye(width)[target] if classes else target
        delta = twin.LOSSES[name].delta(a.astype("f8"), rows_of_y)
        if fused:
            delta = twin.through(output, z.astype("f8"), delta)
        np.testing.assert_allclose(
            d[:, :width], 0.25 * weights[:, None] * delta, rtol=1e-3 if size == 4 else 1e-10, atol=EPSILON[size]
        )
        wanted = COST[name](a, rows_of_y).sum(axis=1) * weights
        np.testing.assert_allclose(costs, wanted, rtol=1e-3 if size == 4 else 1e-10, atol=1e-5 if size == 4 else 0)


def test_costs_of_mean_and_log_variance_are_the_written_formula_for_every_width(size: int, guard: Guard) -> None:
    rng, dtype = np.random.default_rng(2), DTYPES[size]
    for pairs in WIDTHS:
        kernel, _ = loss_kernel("gaussian_nll", "identity", 2 * pairs, False, size)
        rows, stride = 1 + pairs % 19, stride_of(2 * pairs, size)
        m, s, target = rng.normal(size=(3, rows, pairs)).astype(dtype)
        d, x = (guard.empty((rows, stride), dtype) for _ in range(2))
        costs, spare = (guard.empty(rows, dtype) for _ in range(2))
        x[:, : 2 * pairs] = np.hstack([m, s])
        y = guard.copy(target, dtype, writeable=False)
        weights = guard.copy(np.linspace(0.5, 2, rows), dtype, writeable=False)
        run(kernel, d, costs, spare, x, y, weights, 1, rows, 2 * pairs, stride, 0.25)
        assert np.isfinite(d[:, : 2 * pairs]).all()
        wanted = (s + (target - m) ** 2 * np.exp(-s)).sum(axis=1) / 2 * weights
        np.testing.assert_allclose(costs, wanted, rtol=1e-3 if size == 4 else 1e-10, atol=1e-4 if size == 4 else 1e-10)
