"""What several commands need: their error, the digits, a model's file."""

from typing import Any

import numpy as np

from fastbp.data import load_digits
from fastbp.model import Model

Array = np.ndarray[Any, Any]


class UsageError(ValueError):
    """An invalid request of the user; the message has one line."""


def digits() -> tuple[Array, Array]:
    """Pixels from 0 to 1, and the digits that they show."""
    X, y = load_digits()
    return X / 16, y


def load(path: str) -> Model:
    """The model of a file. UsageError if it needs functions that only Python has."""
    try:
        return Model.load(path)
    except LookupError as error:  # the user's functions are not in the file
        raise UsageError(f"{path} can be loaded in Python only: {error}") from None
