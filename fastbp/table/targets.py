"""Targets of a table: classes or numbers, by a stated rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.table.columns import kind_of, numbers_of, text_of

Array = NDArray[Any]
Label = str | int | bool

MOST_LABELS, FEWEST_EACH = 20, 5
RULE = (
    f"text, booleans, and at most {MOST_LABELS} distinct whole numbers with {FEWEST_EACH} rows each or more on average"
)
"""The targets that are classes, if no task is given."""


@dataclass(frozen=True)
class Targets:
    """The names of the targets; labels: the classes in the order of the outputs, None for regression."""

    names: tuple[str, ...]
    labels: tuple[Label, ...] | None

    @property
    def n_outputs(self) -> int:
        return len(self.names) if self.labels is None else len(self.labels)

    def encode(self, frame: Any) -> Array:
        """Class indices (n,), or numbers (n, targets), of a frame without missing targets."""
        if self.labels is None:
            return np.stack([numbers_of(frame[name]) for name in self.names], axis=1)
        place = {label: i for i, label in enumerate(self.labels)}
        values = labels_of(frame[self.names[0]])
        if unknown := sorted({str(value) for value in values if value not in place}):
            raise ValueError(f"the target {self.names[0]!r} must be one of {list(self.labels)}, got {unknown[:5]}")
        return np.array([place[value] for value in values], dtype=np.int64)


def learn(frame: Any, names: Sequence[str], task: str | None) -> Targets:
    """The targets of a frame without missing ones; task: "classification", "regression" or None, by `RULE`."""
    if task not in (None, "classification", "regression"):
        raise ValueError(f'task must be "classification", "regression" or None, got {task!r}')
    if task == "classification" and len(names) > 1:
        raise ValueError(f"classification needs one target, got {', '.join(names)}")
    if task == "regression" or len(names) > 1 or (task is None and not are_classes(frame[names[0]])):
        for name in names:
            if kind_of(frame[name]) != "number":
                raise ValueError(f"the target {name!r} must hold numbers for regression, got {frame[name].dtype}")
        return Targets(tuple(names), None)
    labels = tuple(sorted(set(labels_of(frame[names[0]]))))
    if len(labels) < 2:
        raise ValueError(f"the target {names[0]!r} must have two classes or more, got {list(labels)}")
    return Targets(tuple(names), labels)


def are_classes(series: Any) -> bool:
    """Whether a target is one of classes: see `RULE`."""
    if kind_of(series) != "number":
        return True
    values = numbers_of(series)
    distinct = len(np.unique(values))
    whole = bool(np.all(values == np.floor(values)))
    return whole and distinct <= MOST_LABELS and len(values) >= FEWEST_EACH * distinct


def labels_of(series: Any) -> list[Label]:
    """The values of a target of classes: whole numbers as int, booleans, else text."""
    import narwhals as nw

    if series.dtype == nw.Boolean:
        return [bool(value) for value in series.to_list()]
    if kind_of(series) == "number":
        values = numbers_of(series)
        if np.all(values == np.floor(values)):
            return [int(value) for value in values]
    return [str(value) for value in text_of(series)]
