"""Gradient check: the analytic gradient against central differences, every parameter, in float64."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GradientCheck:
    """The result of `Model.check_gradient`.

    max_error: max_i |analytic_i - numeric_i| / max(max_i |numeric_i|, tiny); worst: that i; passed: max_error below
    the tolerance, and the gradient not zero throughout.
    """

    max_error: float
    worst: int
    analytic: Floats
    numeric: Floats
    passed: bool


def central_differences(value: Callable[[Floats], float], theta: Floats, step: float) -> Floats:
    """(C(θ + h e_i) - C(θ - h e_i)) / 2h for every i, with h = step · max(1, |θ_i|)."""
    numeric = np.empty_like(theta)
    for i, theta_i in enumerate(theta):
        h = step * max(1.0, abs(theta_i))
        at = theta.copy()
        at[i] = theta_i + h
        above = value(at)
        at[i] = theta_i - h
        numeric[i] = (above - value(at)) / (2 * h)
    return numeric


def check(
    value_and_gradient: Callable[[Floats], tuple[float, Floats]],
    theta: Floats,
    step: float = 6e-6,
    tolerance: float = 1e-6,
) -> GradientCheck:
    """Compare at theta; step is about the cube root of float64's precision."""
    analytic = value_and_gradient(theta)[1]
    numeric = central_differences(lambda at: value_and_gradient(at)[0], theta, step)
    errors = np.abs(analytic - numeric)
    scale = max(float(np.abs(numeric).max()), np.finfo(np.float64).tiny)
    worst = int(errors.argmax())
    max_error = float(errors[worst]) / scale
    passed = max_error < tolerance and bool(np.any(analytic != 0))
    return GradientCheck(max_error, worst, analytic, numeric, passed)
