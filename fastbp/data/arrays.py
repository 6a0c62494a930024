"""Arrays for the command line: examples from .npz files, and outputs. Numbers only, no pickles."""

import bz2
import gzip
import io
import lzma
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np

from fastbp.storage.files import check_regular

Array = np.ndarray[Any, Any]


def read_examples(path: str | os.PathLike[str]) -> tuple[Array, Array]:
    """Reads (X, y) of a .npz file: X (n, columns), y (n,) or (n, targets).

    Raises OSError for a file that cannot be read or is not regular, and ValueError that names the file and the fault.
    """
    X, y = _from_npz(path)
    if y is None:
        raise ValueError(f"{path} must have the arrays X and y, it has no y")
    if y.ndim not in (1, 2) or len(X) != len(y):
        raise ValueError(f"{path}: y must be one row per row of X, got shapes {X.shape} and {y.shape}")
    return X, y


def read_inputs(path: str | os.PathLike[str], columns: int) -> Array:
    """Reads X (n, columns) from a file as for `read_examples`, with or without the targets."""
    X = _from_npz(path)[0]
    if X.shape[1] != columns:
        raise ValueError(f"{path} must have {columns} columns (the network's inputs), got {X.shape[1]}")
    return X


def _from_npz(path: str | os.PathLike[str]) -> tuple[Array, Array | None]:
    check_regular(path)
    with open(path, "rb") as stream:
        try:
            arrays = _arrays(stream, ("X", "y"))
        except MemoryError as error:
            raise MemoryError(f"{path}: {error}") from None
        except Exception as error:  # NumPy and the modules for archives fail in many ways
            raise ValueError(f"{path} is not a readable .npz file: {str(error) or type(error).__name__}") from None
    if "X" not in arrays or arrays["X"].ndim != 2:
        got = f"shape {arrays['X'].shape}" if "X" in arrays else "none"
        raise ValueError(f"{path} must have a two-dimensional array X, got {got}")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{path}: {name} must be of real numbers, got dtype {array.dtype}")
    return arrays["X"], arrays.get("y")


def _arrays(stream: BinaryIO, names: Sequence[str]) -> dict[str, Array]:
    """The arrays with these names in a .npz file, if present."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers that NumPy can read
        with np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy returns other members as bytes
            raise ValueError(f"{name} is not an array")
    return arrays


# --- outputs ----------------------------------------------------------------------------------------------------------

COMPRESSED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def as_bytes(outputs: Array, suffix: str) -> bytes:
    """The content of a file with this suffix: a .npy array, or text, possibly compressed."""
    stream = io.BytesIO()
    if suffix == ".npy":
        np.save(stream, outputs[:, 0] if outputs.shape[1] == 1 else outputs, allow_pickle=False)
    else:
        write_text(stream, outputs)
    return COMPRESSED.get(suffix, bytes)(stream.getvalue())


def write_text(stream: Any, outputs: Array) -> None:
    """A line for each row, its numbers separated by commas."""
    digits = {"f4": "%.9g", "f8": "%.17g"}.get(outputs.dtype.str[1:], "%d")  # enough to read back the same number
    np.savetxt(stream, outputs, fmt=digits, delimiter=",")
