"""Second derivatives of losses along a direction: against formulas in NumPy, for every width."""

import numpy as np
import pytest
import twin
from guard import Guard
from kernel_calls import DTYPES, EPSILON, WIDTHS, run, stride_of

from fastbp.core.derivatives.loss_second import loss_second_kernel, of_function

SECOND = {
    "squared_error": lambda a, y: 2 + 0 * a,
    "half_squared_error": lambda a, y: 1 + 0 * a,
    "cross_entropy": lambda a, y: y / a**2,
    "binary_cross_entropy": lambda a, y: y / a**2 + (1 - y) / (1 - a) ** 2,
    "kullback_leibler": lambda a, y: y / a**2,
    "poisson": lambda a, y: y / a**2,
    "absolute_error": lambda a, y: 0 * a,
    "log_cosh": lambda a, y: 1 / np.cosh(a - y) ** 2,
}
FUSED = ("cross_entropy", "kullback_leibler", "binary_cross_entropy", "poisson")
KINDS = [(name, False) for name in SECOND] + [(name, True) for name in FUSED]


def along(kernel, target, width, size, guard):
    """(what the kernel makes, a, a', w_n scale as a column), the arrays in float64."""
    rng, dtype, rows, stride = np.random.default_rng(width), DTYPES[size], len(target), stride_of(width, size)
    out, a, a_t = (guard.empty((rows, stride), dtype) for _ in range(3))
    a[:, :width] = rng.uniform(0.2, 0.8, (rows, width))
    a_t[:, :width] = rng.normal(size=(rows, width))
    y = guard.copy(target, dtype, writeable=False)
    weights = guard.copy(np.linspace(0.5, 2, rows), dtype, writeable=False)
    run(kernel, out, a, a_t, y, weights, 1, rows, width, stride, 0.25)
    made, a8, a_t8 = (array[:, :width].astype("f8") for array in (out, a, a_t))
    return made, a8, a_t8, 0.25 * weights[:, None].astype("f8")


def close(made: np.ndarray, wanted: np.ndarray, size: int) -> None:
    np.testing.assert_allclose(made, wanted, rtol=1e-4 if size == 4 else 1e-10, atol=10 * EPSILON[size])


@pytest.mark.parametrize(("name", "fused"), KINDS)
def test_of_all_outputs(name: str, fused: bool, size: int, guard: Guard) -> None:
    rng = np.random.default_rng(1)
    for width in WIDTHS:
        y = 1.5 * twin.softmax(rng.normal(size=(1 + width % 5, width)))  # not of sum 1
        y = np.minimum(y, 1) if name == "binary_cross_entropy" else y
        made, a, a_t, factor = along(loss_second_kernel(name, fused, False, size), y, width, size, guard)
        if name in ("cross_entropy", "kullback_leibler") and fused:
            close(made, factor * a_t * y.sum(axis=1, keepdims=True), size)
        else:
            close(made, factor * a_t * (1.0 if fused else SECOND[name](a, y)), size)


@pytest.mark.parametrize("fused", [False, True])
def test_of_class_indices(fused: bool, size: int, guard: Guard) -> None:
    rng = np.random.default_rng(1)
    for width in WIDTHS:
        y = rng.integers(0, width, 1 + width % 5).astype("f8")
        kernel = loss_second_kernel("cross_entropy", fused, True, size)
        made, a, a_t, factor = along(kernel, y, width, size, guard)
        close(made, factor * a_t * (1.0 if fused else np.eye(width)[y.astype(int)] / a**2), size)
        y[0] = width
        assert np.isnan(along(kernel, y, width, size, guard)[0][0]).all()


def test_of_pairs(size: int, guard: Guard) -> None:
    rng = np.random.default_rng(1)
    for half in WIDTHS:
        y = rng.normal(size=(1 + half % 5, half))
        made, a, a_t, factor = along(loss_second_kernel("gaussian_nll", False, False, size), y, 2 * half, size, guard)
        (m, s), (m_t, s_t) = np.hsplit(a, 2), np.hsplit(a_t, 2)
        mm, ms, ss = np.exp(-s), (y - m) * np.exp(-s), (y - m) ** 2 * np.exp(-s) / 2
        close(made, factor * np.hstack([mm * m_t + ms * s_t, ms * m_t + ss * s_t]), size)


@pytest.mark.parametrize("convex", [False, True])
def test_of_a_users_function(convex: bool, size: int, guard: Guard) -> None:
    kernel = of_function(lambda a, y: a - y, size, convex)
    y = np.random.default_rng(1).uniform(size=(5, 7))
    made, a, a_t, factor = along(kernel, y, 7, size, guard)
    close(made, factor * a_t * (np.maximum(a - y, 0) if convex else a - y), size)


def test_parameters_reach_the_formula(size: int, guard: Guard) -> None:
    y = np.random.default_rng(1).uniform(size=(5, 7))
    made, a, a_t, factor = along(loss_second_kernel("huber", False, False, size, (0.1,)), y, 7, size, guard)
    close(made, factor * a_t * (abs(a - y) <= 0.1), size)
