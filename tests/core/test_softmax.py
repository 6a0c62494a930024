"""Softmax with cross-entropy: what one formula of z makes stable, and what it makes of targets that are no classes."""

import numpy as np
import pytest
import twin
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, run, stride_of

from fastbp.core.layers import softmax


def results(
    kernel: object, z: np.ndarray, y: np.ndarray, guard: Guard, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Costs and deltas of every example, from guarded memory."""
    rows, width = z.shape
    stride = stride_of(width, z.itemsize)
    d, x = (guard.empty((rows, stride), z.dtype) for _ in range(2))
    costs, spare = (guard.empty(rows, z.dtype) for _ in range(2))
    x[:, :width] = z
    y = guard.copy(y, z.dtype, writeable=False)
    w = guard.copy(np.ones(1) if weights is None else weights, z.dtype, writeable=False)
    run(kernel, d, costs, spare, x, y, w, weights is not None, rows, width, stride, 1.0)
    return costs, d[:, :width]


@pytest.mark.parametrize("rows", [1, 5, 33])
def test_a_class_index_is_a_row_of_probabilities_with_a_single_one(rows: int, size: int, guard: Guard) -> None:
    rng = np.random.default_rng(rows)
    for width in WIDTHS:
        z = rng.normal(size=(rows, width), scale=3).astype(DTYPES[size])
        c, weights = rng.integers(0, width, rows), rng.uniform(0.5, 2, rows)
        by_class = results(softmax.cross_entropy(True, width, size), z, c, guard, weights)
        by_row = results(softmax.cross_entropy(False, width, size), z, np.eye(width)[c], guard, weights)
        for found, expected in zip(by_class, by_row, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol={4: 3e-5, 8: 1e-13}[size])


def test_costs_and_deltas_stay_exact_where_a_softmax_rounds_to_0_and_1(size: int, guard: Guard) -> None:
    for width in WIDTHS[1:]:
        z = np.zeros((2, width), DTYPES[size])
        z[:, 0] = 1000.0
        costs, d = results(softmax.cross_entropy(True, width, size), z, np.array([0, width - 1]), guard)
        assert costs.tolist() == [0.0, 1000.0]
        expected = np.zeros((2, width))
        expected[1, [0, width - 1]] = 1.0, -1.0
        np.testing.assert_array_equal(d, expected)


@pytest.mark.parametrize("wrong", [-1.0, 0.5, np.nan, np.inf, "width"])
def test_a_number_that_is_no_class_index_makes_its_example_nan_and_no_other(
    wrong: float | str, size: int, guard: Guard
) -> None:
    for width in WIDTHS:
        z = np.random.default_rng(width).normal(size=(7, width)).astype(DTYPES[size])
        right, y = np.zeros(7), np.zeros(7)
        y[3] = width if wrong == "width" else wrong
        kernel = softmax.cross_entropy(True, width, size)
        (costs, d), (wanted, deltas) = results(kernel, z, y, guard), results(kernel, z, right, guard)
        others = np.arange(7) != 3
        assert np.isnan(costs[3])
        assert np.isnan(d[3]).all()
        np.testing.assert_array_equal(costs[others], wanted[others])
        np.testing.assert_array_equal(d[others], deltas[others])


def test_the_divergence_is_cross_entropy_less_the_entropy_of_the_targets(size: int, guard: Guard) -> None:
    rng = np.random.default_rng(3)
    for width in WIDTHS:
        z = rng.normal(size=(9, width)).astype(DTYPES[size])
        y = twin.softmax(rng.normal(size=(9, width)))
        y[:, 1:3] = 0  # 0 log 0 = 0
        entropy = -np.sum(y * np.log(np.where(y > 0, y, 1)), axis=1)
        costs, d = results(softmax.cross_entropy(False, width, size), z, y, guard)
        divergences, same = results(softmax.divergence(False, width, size), z, y, guard)
        np.testing.assert_allclose(divergences, costs - entropy, rtol=0, atol={4: 3e-5, 8: 1e-13}[size])
        np.testing.assert_array_equal(same, d)
