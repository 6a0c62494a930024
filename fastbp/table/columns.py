"""Columns of a table: their kinds, what each becomes as inputs of a network, and the columns left out.

Series are narwhals' ones, so that pandas and polars frames work alike. A class for each kind learns from a series and
encodes one as rows of numbers; `scaled` says which of them are standardized (indicators are not).
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_CATEGORIES = 100
"""A text column with more distinct values is left out."""

COUNTED = "left out: the row number"

DAY = 86_400_000.0  # milliseconds
YEAR, WEEK = 365.2425, 7.0  # days


class BadCells(ValueError):
    """Cells that their column's kind does not allow."""


@dataclass(frozen=True)
class Numeric:
    """A number: itself, missing ones replaced by the median; an indicator if training had missing ones."""

    kind: ClassVar[str] = "number"
    name: str
    median: float
    indicator: bool

    @classmethod
    def learn(cls, series: Any) -> "Numeric":
        """ValueError if every cell is missing."""
        values = numbers_of(series)
        return cls(series.name, float(np.nanmedian(values)), bool(np.isnan(values).any()))

    @property
    def scaled(self) -> tuple[bool, ...]:
        return (True,) + (False,) * self.indicator

    def encode(self, series: Any) -> Array:
        values = numbers_of(series)
        missing = np.isnan(values)
        parts = [np.where(missing, self.median, values)] + [missing.astype(float)] * self.indicator
        return np.stack(parts, axis=1)

    @property
    def becomes(self) -> str:
        return f"1 input{', missing: median ' + format(self.median, '.4g') + ' and an indicator' * self.indicator}"


@dataclass(frozen=True)
class Date:
    """A date: days, and the sine and cosine of its day in the year and in the week."""

    kind: ClassVar[str] = "date"
    name: str
    median: float
    indicator: bool

    @classmethod
    def learn(cls, series: Any) -> "Date":
        days = days_of(series)
        return cls(series.name, float(np.nanmedian(days)), bool(np.isnan(days).any()))

    @property
    def scaled(self) -> tuple[bool, ...]:
        return (True,) + (False,) * (4 + self.indicator)

    def encode(self, series: Any) -> Array:
        days = days_of(series)
        missing = np.isnan(days)
        days = np.where(missing, self.median, days)
        angles = [2 * np.pi * days / period for period in (YEAR, WEEK)]
        parts = [days] + [f(angle) for angle in angles for f in (np.sin, np.cos)]
        return np.stack(parts + [missing.astype(float)] * self.indicator, axis=1)

    @property
    def becomes(self) -> str:
        return f"{5 + self.indicator} inputs: days, year and week"


@dataclass(frozen=True)
class Text:
    """Text, a category or a boolean: one input for each value of training; all are 0 for an unseen one.

    Missing cells are a value of their own if training had some, else unseen.
    """

    kind: ClassVar[str] = "text"
    name: str
    categories: tuple[str, ...]
    missing: bool

    @classmethod
    def learn(cls, series: Any) -> "Text":
        values = text_of(series)
        return cls(series.name, tuple(sorted({v for v in values if v is not None})), None in values)

    @property
    def scaled(self) -> tuple[bool, ...]:
        return (False,) * (len(self.categories) + self.missing)

    def encode(self, series: Any) -> Array:
        places = self._places(series)
        rows = np.zeros((len(places), len(self.scaled)))
        known = np.flatnonzero(places >= 0)
        rows[known, places[known]] = 1
        return rows

    def unseen(self, series: Any) -> int:
        """The cells with a value that training did not have."""
        return int(np.count_nonzero(self._places(series) < 0))

    def _places(self, series: Any) -> NDArray[np.int64]:
        place: dict[str | None, int] = {category: i for i, category in enumerate(self.categories)}
        if self.missing:
            place[None] = len(self.categories)
        return np.array([place.get(value, -1) for value in text_of(series)], dtype=np.int64)

    @property
    def becomes(self) -> str:
        return f"{len(self.scaled)} inputs, one for each value{', one for missing cells' * self.missing}"


Column = Numeric | Date | Text
KINDS: dict[str, type[Column]] = {kind.kind: kind for kind in (Numeric, Date, Text)}


@dataclass(frozen=True)
class Found:
    """What was found in a column, for the report."""

    name: str
    kind: str
    missing: int
    distinct: int
    becomes: str


def learn(
    frame: Any, targets: Sequence[str], ignore: Collection[str], keep: Collection[str], keep_index: bool
) -> tuple[list[Column], list[Found]]:
    """The columns used as inputs, and what was found in each column of a narwhals frame.

    ValueError if no column is left.
    """
    columns, found = [], []
    for name in frame.columns:
        series = frame[name]
        kind, missing, distinct = kind_of(series), int(series.null_count()), int(series.drop_nulls().n_unique())
        if name in targets:
            becomes = "target"
        elif reason := left_out(series, kind, distinct, missing, ignore, keep, keep_index):
            becomes = f"left out: {reason}"
        else:
            columns.append(KINDS[kind].learn(series))
            becomes = columns[-1].becomes
        found.append(Found(name, kind, missing, distinct, becomes))
    if not columns:
        raise ValueError("no column is left as an input: " + "; ".join(f"{f.name} {f.becomes}" for f in found))
    return columns, found


def learn_again(column: Column, series: Any) -> Column:
    """The column as learned from fewer rows; as it is if their cells are all missing."""
    return column if series.null_count() == len(series) else KINDS[column.kind].learn(series)


def left_out(
    series: Any,
    kind: str,
    distinct: int,
    missing: int,
    ignore: Collection[str],
    keep: Collection[str],
    keep_index: bool,
) -> str | None:
    """Why a column is no input; None if it is one."""
    if series.name in ignore:
        return "--ignore"
    if series.name in keep:
        return None
    if distinct == 0:
        return "all cells are missing"
    if distinct == 1 and not missing:
        return "constant"
    if kind == "text" and distinct > MOST_CATEGORIES:
        return f"{distinct:,} distinct values (--keep {series.name} keeps it)"
    if kind == "number" and not keep_index and not missing and is_row_number(numbers_of(series)):
        return f"{COUNTED.removeprefix('left out: ')} (--keep-index keeps it)"
    return None


def is_row_number(values: Array) -> bool:
    """Whether whole numbers count the rows upwards by one."""
    whole = len(values) > 2 and values[0] in (0, 1)
    return bool(whole and np.all(np.diff(values) == 1))


def kind_of(series: Any) -> str:
    """The kind of a column by its dtype."""
    import narwhals as nw

    dtype = series.dtype
    if dtype.is_numeric():
        return "number"
    return "date" if dtype in (nw.Date, nw.Datetime) else "text"


def numbers_of(series: Any) -> Array:
    """A column as float64, NaN where missing. BadCells for other values."""
    import narwhals as nw

    try:
        values = np.asarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
    except Exception as error:  # each library of frames has errors of its own
        raise BadCells(f"column {series.name!r} must hold numbers, got {series.dtype}: {error}") from None
    bad = np.flatnonzero(np.isinf(values))
    if bad.size:
        raise BadCells(
            f"column {series.name!r} must hold finite numbers, got {values[bad[0]]} in row {bad[0]} ({bad.size:,} bad)"
        )
    return values


def days_of(series: Any) -> Array:
    """A column of dates as days since 1970, NaN where missing."""
    import narwhals as nw

    if series.dtype not in (nw.Date, nw.Datetime):
        raise BadCells(f"column {series.name!r} must hold dates, got {series.dtype}")
    return numbers_of(series.dt.timestamp("ms")) / DAY


def text_of(series: Any) -> list[str | None]:
    """A column as text, None where missing (None and NaN)."""
    return [None if value is None or value != value else str(value) for value in series.to_list()]


def encode(frame: Any, columns: Sequence[Column]) -> Array:
    """The inputs of all columns, (n, n_inputs), matched by name. ValueError names the columns that are missing."""
    absent = [column.name for column in columns if column.name not in frame.columns]
    if absent:
        raise ValueError(f"the table must have the columns {', '.join(map(repr, absent))}; it has {frame.columns}")
    return np.concatenate([column.encode(frame[column.name]) for column in columns], axis=1)


def to_data(column: Column) -> dict[str, Any]:
    """A column as plain data."""
    return {"kind": column.kind} | asdict(column)


def from_data(data: dict[str, Any]) -> Column:
    """The inverse of `to_data`."""
    fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in data.items()}
    return KINDS[str(fields.pop("kind"))](**fields)
