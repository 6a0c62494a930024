"""Input validation of arrays: each function returns its argument in the form that the kernels need, or raises.

Errors name the argument, the expected form and the actual one, as those of `checks`. Rows, columns and indices count
from 0. Checks scan about 1 MB at a time, so that they need little memory, and never copy an array that already has the
right form.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp.core import embedded
from fastbp.engine.team import cut, each
from fastbp.inputs import sources
from fastbp.inputs.sources import Source

Array = NDArray[Any]

CHUNK_BYTES = 1 << 20
PIECE_BYTES = 1 << 24  # scanned in 0.4 ms; an idle core wakes within 0.1 to 0.3

SIGNED = '(Model(reduction="sum") takes signs in step, value_and_gradient and backward)'
"""The hint for negative weights; a mean would divide by the sum of weights, which might be 0 or negative."""


def as_inputs(X: ArrayLike, n_inputs: int, dtype: DTypeLike, name: str = "X", *, finite: bool = True) -> Array | Source:
    """X as a C-contiguous (n, n_inputs) array of dtype with n >= 1; not copied if it is one already.

    A source instead where that would be large: for a sparse matrix or a memmap more than 32 MB, for a frame or an array
    of another dtype or layout more than 512 MB. It is checked in pieces, too. finite=False: the caller checks
    that all is finite.
    """
    dtype = np.dtype(dtype)
    opened = sources.opened(X, name)
    rows = _real_array(X, name) if opened is None else opened
    _check_inputs(rows.shape, n_inputs, name)
    source = sources.over(rows, dtype) if isinstance(rows, np.ndarray) else rows
    if isinstance(source, np.ndarray):
        return _converted(source, dtype, name, finite)
    numbers = range(len(source))
    if source.is_small(dtype):
        return _taken(source, numbers, dtype, name)
    if not finite:
        return source
    step = max(1, sources.PIECE_BYTES // (n_inputs * dtype.itemsize))
    for begin in numbers[::step]:
        _taken(source, numbers[begin : begin + step], dtype, name)
    return source


def as_whole_inputs(X: ArrayLike, n_inputs: int, dtype: DTypeLike, name: str = "X") -> Array:
    """X as a C-contiguous (n, n_inputs) array of dtype with n >= 1, of any size; ValueError if large and sparse."""
    inputs = as_inputs(X, n_inputs, dtype, name)
    return inputs if isinstance(inputs, np.ndarray) else inputs.whole(dtype, name)


def _check_inputs(shape: tuple[int, ...], n_inputs: int, name: str) -> None:
    expected = f"{name} must be 2-D, one row per example, got shape {shape}"
    if len(shape) == 1:
        form = "-1, 1" if n_inputs == 1 else "1, -1"
        hint = f"; if it is {'one column' if n_inputs == 1 else 'a single example'}, use {name}.reshape({form})"
        raise ValueError(expected + hint)
    if len(shape) != 2:
        raise ValueError(expected)
    if shape[1] != n_inputs:
        raise ValueError(f"{name} must have {_count(n_inputs, 'column')} (the network's inputs), got shape {shape}")
    if shape[0] == 0:
        raise ValueError(f"{name} must have at least 1 row, got shape {shape}")


def _taken(source: Source, numbers: range, dtype: np.dtype[Any], name: str) -> Array:
    """These rows as an array of dtype. ValueError if a value is not finite."""
    result = source.dense(numbers, dtype)
    if not _all_finite(result):
        index = _first(lambda c: ~np.isfinite(c), result)
        if index is not None:
            row, column = numbers[index[0]], index[1]
            value = source.dense(range(row, row + 1), np.longdouble)[0, column]
            raise _not_finite(value, (row, column), dtype, name)
    return result


def as_weights(
    sample_weight: ArrayLike | None, rows: int, dtype: DTypeLike, name: str = "sample_weight", *, signed: bool = False
) -> Array | None:
    """None, or one weight per example: (rows,), C-contiguous, of dtype, not all zero; nonnegative if not signed."""
    if sample_weight is None:
        return None
    dtype = np.dtype(dtype)
    array = _real_array(sample_weight, name)
    if array.shape != (rows,):
        raise ValueError(f"{name} must have shape ({rows},), one weight per example, got shape {array.shape}")
    weights = _converted(array, dtype, name)
    if not signed:
        _check(weights, lambda c: c < 0, f"{name} must not be negative {SIGNED}")
    if not weights.any():
        raise ValueError(f"{name} must not be all zero{'' if not array.any() else f' in {dtype}'}")
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(weights.sum(dtype=np.float64))
    if not abs(total) <= float(np.finfo(dtype).max):
        raise ValueError(f"{name} must have a sum that fits in {dtype}, got {total:g}")
    return weights


def as_vector(value: ArrayLike, size: int, dtype: DTypeLike, name: str) -> Array:
    """Finite numbers as a C-contiguous (size,) array of dtype; not copied if it is so already."""
    return as_shape(value, (size,), dtype, name)


def as_shape(value: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike, name: str) -> Array:
    """Finite numbers as a C-contiguous array of this shape and dtype; not copied if it is so already."""
    array = _real_array(value, name)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got shape {array.shape}")
    return _converted(array, np.dtype(dtype), name)


def as_derivatives(dy: ArrayLike, shape: tuple[int, int, int], dtype: DTypeLike, name: str = "dy") -> Array:
    """dy as a C-contiguous array (rows, outputs, inputs), for one output also from (rows, inputs); NaN may be."""
    array = _real_array(dy, name)
    if shape[1] == 1 and array.shape == (shape[0], shape[2]):
        array = array.reshape(shape)
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape (rows, outputs, inputs), {shape}, got {array.shape}")
    checked = _converted(array, np.dtype(dtype), name, finite=False)
    _check(checked, np.isinf, f"{name} must not be infinite (NaN stands for unknown)")
    return checked


def _real_array(value: ArrayLike, name: str) -> Array:
    """value as an array of real numbers of any dtype, byte order and layout."""
    mask = getattr(value, "mask", None)  # np.asarray would drop a mask silently
    if isinstance(mask, np.ndarray) and mask.any():
        raise ValueError(f"{name} must not have masked values, got {np.count_nonzero(mask)} of them")
    if hasattr(value, "to_numpy"):
        return sources.values(value, name)
    array = sources.asarray(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {type(value).__name__} of dtype {array.dtype}")
    return array


def _converted(array: Array, dtype: np.dtype[Any], name: str, finite: bool = True) -> Array:
    """The array C-contiguous, aligned and of dtype; itself if it is so already. finite: check every value."""
    result = array
    if array.dtype != dtype or not array.flags.c_contiguous or not array.flags.aligned:
        result = np.empty(array.shape, dtype)
        with np.errstate(all="ignore"):  # an overflow becomes infinite, and is found below
            np.copyto(result, array, casting="unsafe")
    if finite and array.dtype.kind == "f":  # the largest integer fits in float32
        index = None if _all_finite(result) else _first(lambda c: ~np.isfinite(c), result)
        if index is not None:
            raise _not_finite(array[index], index, dtype, name)
    return result


def _not_finite(value: Any, index: tuple[int, ...], dtype: np.dtype[Any], name: str) -> ValueError:
    expected = f"must fit in {dtype}" if np.isfinite(value) else "must be finite"
    return ValueError(f"{name} {expected}, got {value} {_place(index)}")


def _all_finite(array: Array) -> bool:
    if array.nbytes < CHUNK_BYTES:
        return bool(np.isfinite(array).all())
    kernel, at, piece = embedded.finite(array.itemsize).ctypes, array.ctypes.data, PIECE_BYTES // array.itemsize

    def part(begin: int, end: int) -> int:
        return int(kernel(at + begin * array.itemsize, end - begin))

    return all(each(part, cut(array.size, piece)))


def _check(array: Array, bad: Callable[[Array], NDArray[np.bool_]], expected: str) -> None:
    """ValueError with the first element for which `bad` holds."""
    index = _first(bad, array)
    if index is not None:
        raise ValueError(f"{expected}, got {array[index]} {_place(index)}")


def _first(bad: Callable[[Array], NDArray[np.bool_]], array: Array) -> tuple[int, ...] | None:
    """The index of the first element for which `bad` holds; `bad` is called with about 1 MB of rows at a time."""
    rows = max(1, CHUNK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        flags = bad(array[start : start + rows])
        if flags.any():
            row, *columns = (int(i) for i in np.unravel_index(flags.argmax(), flags.shape))
            return (start + row, *columns)
    return None


def _place(index: tuple[int, ...]) -> str:
    return f"in row {index[0]}, column {index[1]}" if len(index) == 2 else f"at index {index[0]}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
