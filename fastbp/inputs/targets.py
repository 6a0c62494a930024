"""Input validation of targets: one table of the values that each loss takes for y; and label smoothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp.inputs.arrays import Array, _check, _converted, _count, _first, _real_array
from fastbp.losses import AnyLoss, name_of, outputs_of

PROBABILITY_TOLERANCE = 1e-3  # how far from 1 a row of probabilities may sum


def as_targets(y: ArrayLike, rows: int, loss: AnyLoss, n_outputs: int, dtype: DTypeLike, name: str = "y") -> Array:
    """y in the form that the loss takes, C-contiguous and of dtype; not copied if it is so already.

    (rows, n_outputs), made from (rows,) too if that is one column; for gaussian_nll one column for each two outputs.
    With cross_entropy (rows,) is taken as class indices 0 … n_outputs - 1 and stays (rows,). VALUES has the values
    that a loss takes.
    """
    array, loss_name, columns = _real_array(y, name), name_of(loss), n_outputs // outputs_of(loss)
    if array.shape[:1] != (rows,):
        raise ValueError(f"{name} must have {_count(rows, 'row')} (one per example), got shape {array.shape}")
    if loss_name == "cross_entropy" and array.ndim == 1:
        return _class_indices(array, n_outputs, np.dtype(dtype), name)
    if array.ndim == 1 and columns == 1:
        array = array.reshape(rows, 1)
    if array.shape != (rows, columns):
        classes = f"({rows},) with class indices or " if loss_name == "cross_entropy" else ""
        hint = f"; use {name}.ravel() for class indices" if classes and array.shape == (rows, 1) else ""
        per = "output" if columns == n_outputs else f"mean (of the {n_outputs} outputs, half are log variances)"
        raise ValueError(
            f"{name} must have shape {classes}({rows}, {columns}), one column per {per}, got shape {array.shape}{hint}"
        )
    targets = _converted(array, np.dtype(dtype), name)
    VALUES.get(loss_name, _any)(targets, name)
    return targets


def smoothing_of(loss: AnyLoss, share: float, n_outputs: int) -> tuple[float, float]:
    """(1 - ε, ε / K): the factor of each target, and the addend."""
    return 1 - share, share / (n_outputs if name_of(loss) == "cross_entropy" else 2)


def smoothed(y: Array, loss: AnyLoss, share: float, n_outputs: int) -> Array:
    """Checked targets with `share` of their weight spread evenly over the classes: y (1 - ε) + ε / K, rows of K.

    K is n_outputs for cross_entropy (class indices become rows, a new array of n · K numbers) and 2 for
    binary_cross_entropy (Szegedy et al., CVPR 2016).
    """
    if y.ndim == 1:
        rows = np.zeros((len(y), n_outputs), y.dtype)
        rows[np.arange(len(y)), y.astype(np.intp)] = 1
    else:
        rows = y.copy()
    kept, spread = smoothing_of(loss, share, n_outputs)
    rows *= kept
    rows += spread
    return rows


# Values of y -------------------------------------------------------------------------------------------------


def _class_indices(array: Array, n_classes: int, dtype: np.dtype[Any], name: str) -> Array:
    """(n,) class indices 0 … n_classes - 1, checked before they are rounded to dtype."""
    if array.dtype.kind == "f":
        _check(array, lambda c: ~np.isfinite(c), f"{name} must be finite")
        _check(array, lambda c: c != np.floor(c), f"{name} must hold whole class indices")
    expected = f"{name} must hold class indices from 0 to {n_classes - 1} (the network's outputs)"
    _check(array, lambda c: (c < 0) | (c > n_classes - 1), expected)
    return _converted(array, dtype, name)


def _probabilities(rows: Array, name: str) -> None:
    """Rows are nonnegative with the sum 1."""
    _check(rows, lambda c: c < 0, f"{name} must hold probabilities, not negative")

    def far_from_1(chunk: Array) -> NDArray[np.bool_]:
        far: NDArray[np.bool_] = abs(chunk.sum(axis=1, dtype=np.float64) - 1) > PROBABILITY_TOLERANCE
        return far

    index = _first(far_from_1, rows)
    if index is not None:
        total = rows[index].sum(dtype=np.float64)
        raise ValueError(
            f"{name} must hold probabilities that sum to 1 in each row, got a sum of {total:.6g} in row {index[0]}"
        )


def _within_0_and_1(y: Array, name: str) -> None:
    _check(y, lambda c: (c < 0) | (c > 1), f"{name} must lie in [0, 1]")


def _not_negative(y: Array, name: str) -> None:
    _check(y, lambda c: c < 0, f"{name} must not be negative for the loss poisson")


def _signs(y: Array, name: str) -> None:
    _check(y, lambda c: abs(c) != 1, f"{name} must be -1 or 1 for the loss hinge (2 y - 1 of classes 0 and 1)")


def _any(y: Array, name: str) -> None:
    """Any finite number, which is checked already."""


VALUES: dict[str, Callable[[Array, str], None]] = {
    "cross_entropy": _probabilities,
    "kullback_leibler": _probabilities,
    "binary_cross_entropy": _within_0_and_1,
    "poisson": _not_negative,
    "hinge": _signs,
}
"""The check of a loss's targets; other losses take every finite number."""
