"""User-defined losses: scalar Python functions, compiled once, whose derivatives are checked at construction."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

from fastbp.activations import name_for
from fastbp.core.formulas.losses import LOSSES
from fastbp.core.layers.custom_loss import of_two_numbers

Function = Callable[[float, float], float]

OUTPUTS = (-2.3172, -0.7219, -0.1873, 0.2764, 0.6131, 0.9127, 1.6839, 4.1427)
TARGETS = (-1.6251, -1.0, 0.0, 0.3519, 1.0, 2.2931)
"""Where a derivative is compared with central differences: classes of several kinds, probabilities, any numbers."""

STEP = 6e-6  # about the cube root of float64's precision
TOLERANCE = 1e-5  # relative to the slope
ROUNDING = 1e-9  # relative to the largest value


@dataclass(frozen=True)
class Loss:
    """A loss made of Python functions of two numbers: C_n = Σ_j value(a_j, y_j) over the outputs j.

    value(a, y) -> c; derivative(a, y) -> ∂c/∂a; second(a, y) -> ∂²c/∂a², if known; name: the name in files (None: that
    of the function `value`, "custom" for a lambda). Numba compiles them, once in a process, for float64
    numbers (of float32 models as well): they may use math, numpy and functions under numba.njit, should raise nothing,
    and keep the present values of global variables. y may hold any finite number.

    TypeError or ValueError if one cannot be compiled, or is not the slope of the previous one at one of 48 points
    (a, y) where central differences are finite.
    """

    value: Function
    derivative: Function
    second: Function | None = None
    name: str = ""

    def __init__(
        self, value: Function, derivative: Function, second: Function | None = None, name: str | None = None
    ) -> None:
        slopes = {"value": value, "derivative": derivative} | ({} if second is None else {"second": second})
        functions = {argument: compiled(argument, function) for argument, function in slopes.items()}
        chosen = name_for("loss", value, name, LOSSES)
        for of, argument in pairwise(functions):
            check_slope(argument, functions[argument], of, functions[of])
        for field, given in (("value", value), ("derivative", derivative), ("second", second), ("name", chosen)):
            object.__setattr__(self, field, given)

    def __repr__(self) -> str:
        return f"Loss({self.name!r})"


def compiled(argument: str, function: object) -> Function:
    """The function for float64 numbers; TypeError or ValueError name the argument."""
    if not inspect.isfunction(getattr(function, "py_func", function)):  # py_func: of a numba dispatcher
        raise TypeError(f"{argument} must be a Python function of two numbers (a, y), got {function!r}")
    try:
        result: Function = of_two_numbers(function)
    except Exception as error:  # numba fails in many ways
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{argument} must be a function of two numbers (a, y) to a number that numba compiles: {reason}"
        ) from error
    return result


def check_slope(argument: str, slope: Function, of: str, function: Function) -> None:
    """ValueError unless slope is ∂function/∂a wherever central differences are finite."""
    points = []
    for a, y in product(OUTPUTS, TARGETS):
        h = STEP * max(1.0, abs(a))
        expected = (function(a + h, y) - function(a - h, y)) / (2 * h)
        if math.isfinite(expected):
            points.append((a, y, slope(a, y), expected))
    if not points:
        raise ValueError(f"{of} must be finite somewhere, but is at no a in {OUTPUTS} with y in {TARGETS}")
    rounding = ROUNDING * max(abs(function(a, y)) for a, y, _, _ in points)
    worst, report = 0.0, ""
    for a, y, found, expected in points:
        error = abs(found - expected) if math.isfinite(found) else math.inf
        if error > max(TOLERANCE * abs(expected) + rounding, worst):
            worst = error
            report = f"at a = {a:g}, y = {y:g} it is {found:.6g}, central differences of {of} give {expected:.6g}"
    if report:
        raise ValueError(f"{argument} must be the slope of {of} in a: {report}, off by {worst:.2g}")
