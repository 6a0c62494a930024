"""User-defined activations: scalar Python functions, compiled once, whose derivatives are checked at construction."""

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.layers import custom_activation
from fastbp.core.layers.activation_kernels import OUTPUT_ONLY
from fastbp.inputs.checks import choice

Function = Callable[[float], float]

HALF = np.geomspace(0.0312, 9.73, 20)
POINTS = np.concatenate([-HALF[::-1], HALF])
"""The z where derivatives are compared with central differences; kinks are unlikely to be there."""

STEP = 6e-6  # about the cube root of float64's precision
TOLERANCE = 1e-5  # relative to the slope
ROUNDING = 1e-8  # relative to the value that is differentiated


@dataclass(frozen=True)
class Activation:
    """An activation made of Python functions of one number: a_j = value(z_j), for hidden layers and the output.

    value(z) -> σ(z); derivative(z) -> σ'(z); second(z) -> σ''(z) and third(z) -> σ'''(z), if known; name: the name in
    files (None: that of the function `value`, "custom" for a lambda). Numba compiles them, once in each process for
    each dtype of z: they may use math, numpy and functions under numba.njit, must be defined for every z, should raise
    nothing, and keep the present values of global variables.

    TypeError or ValueError if one cannot be compiled, or at one of 40 points z from -9.73 to 9.73 is not finite or not
    the slope of the previous one.
    """

    value: Function
    derivative: Function
    second: Function | None = None
    name: str = ""
    third: Function | None = None

    def __init__(
        self,
        value: Function,
        derivative: Function,
        second: Function | None = None,
        name: str | None = None,
        *,
        third: Function | None = None,
    ) -> None:
        if third is not None and second is None:
            raise ValueError("second must be given with third, whose integral it is, got None")
        chosen = name_for("activation", value, name, (*ACTIVATIONS, *OUTPUT_ONLY))
        slopes = {"value": value, "derivative": derivative, "second": second, "third": third}
        for field, function in (*slopes.items(), ("name", chosen)):
            object.__setattr__(self, field, function)
        known = {argument: function for argument, function in slopes.items() if function is not None}
        functions = {argument: on_points(argument, function) for argument, function in known.items()}
        for of, argument in zip(functions, list(functions)[1:], strict=False):
            check_slope(argument, functions[argument], of, functions[of])

    def __repr__(self) -> str:
        return f"Activation({self.name!r})"


def name_for(kind: str, value: object, name: object, taken: Collection[str]) -> str:
    """The name in files of an activation or loss (the kind) with the function `value`. TypeError or ValueError."""
    if name is None:
        name = getattr(value, "__name__", "<lambda>")
        name = "custom" if name == "<lambda>" else name
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if not name or name in taken:
        raise ValueError(f"name must not be empty or that of another {kind}, got {name!r}")
    return name


Custom = TypeVar("Custom")


def named(kind: type[Custom], name: str, custom: Sequence[object]) -> Custom:
    """The object of this kind and name in `custom`; LookupError if there is none."""
    for each in custom:
        if isinstance(each, kind) and getattr(each, "name", None) == name:
            return each
    raise LookupError(
        f"the model has the custom {kind.__name__.lower()} {name!r}: give it as Model.load(path, custom=[...])"
    )


def on_points(argument: str, function: object) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The compiled function of a vector; TypeError or ValueError name the argument."""
    if not inspect.isfunction(getattr(function, "py_func", function)):  # py_func: of a numba dispatcher
        raise TypeError(f"{argument} must be a Python function of one number z, got {function!r}")
    kernel = custom_activation.forward(function, 8)
    try:
        run = kernel.ctypes
    except Exception as error:  # numba fails in many ways
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{argument} must be a function of one number z to a number that numba compiles: {reason}"
        ) from error

    def apply(z: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.empty_like(z)
        run(out.ctypes.data, z.ctypes.data, 1, len(z), len(z))
        return out

    return apply


def check_slope(argument: str, slope: Any, of: str, function: Any) -> None:
    """ValueError unless slope is the derivative of function, both finite, at all points."""
    h = STEP * np.maximum(1, np.abs(POINTS))
    values, found = function(POINTS), slope(POINTS)
    with np.errstate(all="ignore"):
        expected = (function(POINTS + h) - function(POINTS - h)) / (2 * h)
        excess = np.abs(found - expected) / (TOLERANCE * np.abs(expected) + ROUNDING * np.maximum(1, np.abs(values)))
    for name, numbers in ((of, values), (argument, found)):
        if not np.isfinite(numbers).all():
            worst = np.isfinite(numbers).argmin()
            raise ValueError(f"{name} must be finite for every z, got {numbers[worst]} at z = {POINTS[worst]:.4g}")
    worst = excess.argmax()
    if not excess[worst] <= 1:
        raise ValueError(
            f"{argument} must be the slope of {of}: at z = {POINTS[worst]:.4g} it is {found[worst]:.6g}, central "
            f"differences of {of} give {expected[worst]:.6g}, off by {abs(found[worst] - expected[worst]):.2g}"
        )


AnyActivation = str | Activation


def as_activation(argument: str, value: object, names: Collection[str]) -> AnyActivation:
    """A name in `names`, or an Activation; ValueError or TypeError name the argument."""
    return value if isinstance(value, Activation) else choice(argument, value, names)


def to_data(activation: AnyActivation) -> str | dict[str, str]:
    """The activation as plain data; a custom one by its name."""
    return {"custom": activation.name} if isinstance(activation, Activation) else activation


def from_data(data: str | dict[str, str], custom: Sequence[object] = ()) -> AnyActivation:
    """The activation from the data of `to_data`; a custom activation is the one of that name in `custom`."""
    return data if isinstance(data, str) else named(Activation, data["custom"], custom)
