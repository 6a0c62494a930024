"""Example data: handwritten digits; reading and splitting the user's arrays.

digits.npz holds the 1,797 images of the test set of E. Alpaydin and C. Kaynak, Optical Recognition of
Handwritten Digits, UCI Machine Learning Repository, 1998, CC BY 4.0 (README.md in this folder says more).
"""

from importlib.resources import files
from typing import Any

import numpy as np

from fastbp.data.arrays import read_examples, read_inputs
from fastbp.inputs.sources import asarray

__all__ = ["load_digits", "read_examples", "read_inputs", "stratified_split"]

Array = np.ndarray[Any, Any]


def load_digits() -> tuple[Array, Array]:
    """The handwritten digits: X float32 (1797, 64), pixels from 0 to 16, and y int64 (1797,), from 0 to 9."""
    data = files(__name__).joinpath("digits.npz")  # also inside a zip archive
    with data.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return file["images"].astype(np.float32), file["labels"].astype(np.int64)


def stratified_split(y: Array, test_size: float = 0.2, seed: int = 0) -> tuple[Array, Array]:
    """Row numbers for training and for the test, (train, test), every class in proportion.

    `y` (n,) holds the classes; a class with m rows gives round(m * test_size) of them, but not all, to the test.
    Both results ascend; the same `seed` gives the same split. Raises ValueError unless 0 < test_size < 1 and
    the test gets a row.
    """
    y = asarray(y, "y")
    if y.ndim != 1:
        raise ValueError(f"y must be one class per row, got shape {y.shape}")
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must be between 0 and 1, got {test_size}")
    shuffled = np.random.default_rng(seed).permutation(len(y))
    tested = np.zeros(len(y), dtype=bool)
    for c in np.unique(y):
        rows = shuffled[y[shuffled] == c]
        tested[rows[: min(round(len(rows) * test_size), len(rows) - 1)]] = True
    if not tested.any():
        raise ValueError(f"test_size={test_size} leaves no row of {len(y)} for the test")
    return np.flatnonzero(~tested), np.flatnonzero(tested)
