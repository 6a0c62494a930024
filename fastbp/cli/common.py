"""What several commands need: their error, the data and its format, a model's file."""

import argparse
from importlib.resources import files as resources
from typing import Any

import numpy as np

from fastbp.data import load_digits
from fastbp.model import Model
from fastbp.table.read import Format

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


def is_array(data: str) -> bool:
    """Whether the word or path names arrays; all other data are tables."""
    return data == "digits" or data.lower().endswith(".npz")


def path_of(data: str) -> tuple[str, str | None]:
    """The path of a table, and its target if it comes with fastbp."""
    if data == "penguins":
        return str(resources("fastbp.data").joinpath("penguins.csv")), "species"
    return data, None


def words(text: str | None) -> list[str] | None:
    """Names with commas between."""
    return [word.strip() for word in text.split(",")] if text else None


def add_format(group: Any) -> None:
    """The options on how a text file is read."""
    add = group.add_argument
    add("--separator", metavar="CHARACTER", help="between fields (seen from the file)")
    add("--decimal", metavar="CHARACTER", help="of numbers (seen from the file)")
    add("--missing", action="append", default=[], metavar="TEXT", help="a cell that is a missing value; repeatable")
    add("--header", action=argparse.BooleanOptionalAction, help="whether the first line holds names")


def form_of(options: argparse.Namespace) -> Format:
    """The format that the options give."""
    for name in ("separator", "decimal"):
        if len(getattr(options, name) or ".") != 1:
            raise UsageError(f"--{name} must be one character, got {getattr(options, name)!r}")
    return Format(options.separator, options.decimal, tuple(options.missing), options.header)
