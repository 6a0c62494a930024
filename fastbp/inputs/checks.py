"""Input validation of names and numbers: each function returns its argument as the kind it needs, or raises.

Errors name the argument, the expected value and the actual one. ValueError: the value is wrong; TypeError: its type
is.
"""

import math
import numbers
import operator
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbp.inputs.synonyms import advice


def choice(name: str, value: object, valid: Collection[str]) -> str:
    """value if it is one of the valid names; the error suggests fastbp's name for another library's."""
    expected = f"{name} must be one of {', '.join(valid)}, got {value!r}"
    if not isinstance(value, str):
        raise TypeError(expected)
    if value not in valid:
        raise ValueError(expected + advice(name, value, valid))
    return value


def floating_dtype(dtype: DTypeLike, name: str = "dtype") -> np.dtype[Any]:
    """float32 or float64 as a np.dtype."""
    expected = f"{name} must be float32 or float64, got {dtype!r}"
    try:
        result = np.dtype(dtype)
    except TypeError:
        raise TypeError(expected) from None
    if dtype is None or result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(expected)
    return result


def boolean(name: str, value: object) -> bool:
    """True or False as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def positive_int(name: str, value: object) -> int:
    """A whole number >= 1 as an int."""
    return _whole(name, value, 1)


def nonnegative_int(name: str, value: object) -> int:
    """A whole number >= 0 as an int."""
    return _whole(name, value, 0)


def real(name: str, value: object) -> float:
    """A number as a float, which may be infinite or NaN."""
    return _number(name, value, lambda _: True, "")


def positive_float(name: str, value: object) -> float:
    """A finite number > 0 as a float."""
    return _number(name, value, lambda x: 0 < x < math.inf, "be finite and positive")


def nonnegative_float(name: str, value: object) -> float:
    """A finite number >= 0 as a float."""
    return _number(name, value, lambda x: 0 <= x < math.inf, "be finite and not negative")


def number_in(name: str, value: object, low: float, high: float) -> float:
    """A number in [low, high] as a float."""
    return _number(name, value, lambda x: low <= x <= high, f"lie in [{low:g}, {high:g}]")


def fraction(name: str, value: object) -> float:
    """A number in [0, 1) as a float: momentum, beta_1."""
    return _number(name, value, lambda x: 0 <= x < 1, "lie in [0, 1)")


def fractions(name: str, value: object, n_hidden: int) -> tuple[float, ...]:
    """A number in [0, 1) for each hidden layer, given as one for all or as a sequence, as floats."""
    if not isinstance(value, (Sequence, np.ndarray)) or isinstance(value, str):
        return (fraction(name, value),) * n_hidden
    if len(value) != n_hidden:
        raise ValueError(
            f"{name} must be one fraction or one for each of the {n_hidden} hidden layers, got {len(value)}: {value!r}"
        )
    return tuple(fraction(f"{name}[{l}]", number) for l, number in enumerate(value))


def open_fraction(name: str, value: object) -> float:
    """A number in (0, 1) as a float: validation_fraction."""
    return _number(name, value, lambda x: 0 < x < 1, "lie between 0 and 1")


def _whole(name: str, value: object, least: int) -> int:
    expected = f"{name} must be a whole number >= {least}, got {value!r}"
    if isinstance(value, bool | np.bool_ | np.ndarray):
        raise TypeError(expected)
    try:
        result = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(expected) from None
    if not least <= result <= sys.maxsize:  # the kernels count in int64
        raise ValueError(expected)
    return result


def _number(name: str, value: object, valid: Callable[[float], bool], expected: str) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not valid(result):
        raise ValueError(f"{name} must {expected}, got {value!r}")
    return result
