"""Files as frames with typed columns, by polars: CSV with any separator, TSV, Parquet, gzip, also of other encodings.

Every cell of a text file is read as text first; a column's kind follows from its cells, or is given by a model.
"""

import csv
import gzip
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from fastbp.storage.files import as_path, check_regular
from fastbp.table.columns import BadCells

SEPARATORS = ",;\t|"
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Cells that are missing values in every file."""

DATES = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d")
NUMERIC_SHARE = 0.9
SNIFFED = 200  # records at the beginning of a file
SHOWN = 5  # bad cells
MEMORY_OF_TEXT = 4
"""The memory that reading a text file takes, in sizes of the uncompressed text (measured: 4.0 for numbers)."""


@dataclass(frozen=True)
class Format:
    """How a text file is to be read; None: as its first records suggest."""

    separator: str | None = None
    decimal: str | None = None
    missing: Sequence[str] = ()
    header: bool | None = None


@dataclass(frozen=True)
class Table:
    """A file's frame, of polars, and what to say about it."""

    frame: Any
    notes: tuple[str, ...] = ()
    named: bool = True


def read(path: str | os.PathLike[str], form: Format | None = None, kinds: Mapping[str, str] | None = None) -> Table:
    """The table of a file. kinds: those of a model's columns, by name; other columns' follow from their cells.

    OSError for a file that cannot be read; ValueError names the file and the fault; ImportError without polars.
    """
    polars, form, name = _polars(path), form or Format(), as_path("path", path)
    check_regular(name)
    if name.lower().endswith((".parquet", ".pq")):
        try:
            return Table(polars.read_parquet(name))
        except polars.exceptions.PolarsError as error:
            raise ValueError(f"{name} is not a readable Parquet file: {error}") from None
    text = decode(name)
    if "\r" in text and "\n" not in text:
        text = text.replace("\r", "\n")
    separator = form.separator or ("\t" if ".tsv" in name.lower() else sniffed(text))
    records = list(islice(_records(text, separator), SNIFFED))
    if not records:
        raise ValueError(f"{name} is empty")
    form = replace(form, separator=separator, decimal=form.decimal or decimal_in(records, separator))
    has_header, why = _header(records, form, kinds or {})
    columns = Counter(len(fields) for _, fields in records[1:] or records).most_common(1)[0][0]
    names, notes = _names(records[0][1], columns, has_header)
    notes.insert(0, f"the first line holds {'names' if has_header else 'values'} ({why})")
    if form.decimal == ",":
        notes.append("numbers have decimal commas")
    first_line = records[0][0] if has_header else 0
    body = _after_lines(text, first_line).lstrip("\r\n")
    if '"' not in body:
        body = re.sub(r"\r?\n[\r\n]+", "\n", body)
    try:
        frame = polars.read_csv(
            body.encode(), has_header=False, separator=separator, infer_schema=False,
            schema=dict.fromkeys(names, polars.String),
        )  # fmt: skip
    except polars.exceptions.PolarsError:
        raise ValueError(f"{name}, {_ragged(text, separator, columns, has_header)}") from None
    if not len(frame):
        raise ValueError(f"{name} has no rows")
    typed = _typed(frame, form, kinds or {}, lambda rows: _lines_of(text, separator, has_header, rows), name)
    return Table(typed, tuple(notes), has_header)


def _polars(path: object) -> Any:
    try:
        import polars
    except ImportError:
        raise ImportError(f'reading {path} needs polars: pip install "fastbp[table]"') from None
    return polars


def decode(path: str) -> str:
    """The text of a file, decompressed: UTF-8, UTF-16 with its mark, else Windows-1252."""
    largest = memory() // MEMORY_OF_TEXT
    with open(path, "rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if compressed else open(path, "rb") as file:
            data = file.read(largest + 1)
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a readable gzip file: {error}") from None
    if len(data) > largest:
        raise ValueError(
            f"{path} must have at most {largest / 1e9:.1f} GB of text, a quarter of this machine's memory; "
            "convert it to Parquet"
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data[:4096]:
        raise ValueError(f"{path} is not a text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _after_lines(text: str, lines: int) -> str:
    """The text after so many lines."""
    at = 0
    for _ in range(lines):
        at = text.find("\n", at) + 1 or len(text)
    return text[at:]


def _records(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(number of the last line, fields) of the records that are not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        yield from ((reader.line_num, fields) for fields in reader if fields)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is not readable: {error}") from None


def sniffed(text: str) -> str:
    """The separator that gives the first records the most equal numbers of fields, more than one."""

    def merit(separator: str) -> tuple[float, int]:
        counts = [len(fields) for _, fields in islice(_records(text, separator), 50)]
        common, times = Counter(counts).most_common(1)[0] if counts else (1, 0)
        return (times / max(len(counts), 1), common) if common > 1 else (0.0, 0)

    return max(SEPARATORS, key=merit)  # the first of equals


def decimal_in(records: Sequence[tuple[int, Sequence[str]]], separator: str) -> str:
    """A comma if some cells are numbers with one and none has a point."""
    cells = [cell.strip() for _, fields in records for cell in fields]
    commas = separator != "," and any(re.fullmatch(r"[+-]?\d+,\d+", cell) for cell in cells)
    return "," if commas and not any(re.fullmatch(r"[+-]?\d+\.\d+", cell) for cell in cells) else "."


def _header(records: Sequence[tuple[int, Sequence[str]]], form: Format, kinds: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the first record holds names, and why: as asked for, as a model's columns tell, or by the cells."""
    if form.header is not None:
        return form.header, "as asked for"
    if kinds and set(kinds) <= {name.strip() for name in records[0][1]}:
        return True, "the model's columns"
    return header_in(records, form.decimal or ".")


def header_in(records: Sequence[tuple[int, Sequence[str]]], decimal: str) -> tuple[bool, str]:
    """Whether the first record holds names, and why."""
    first, others = records[0][1], [fields for _, fields in records[1:]]
    numeric = [is_number(cell, decimal) for cell in first]
    if not others:
        return not any(numeric), "there is no other line"
    if len(first) > 1 and [cell.strip() for cell in first] == [str(i) for i in range(len(first))]:
        return True, "it counts 0, 1, 2, …"
    for i, cell in enumerate(first):
        cells = [fields[i] for fields in others if i < len(fields) and fields[i].strip() not in MISSING]
        if cells and not numeric[i] and cell.strip() and sum(is_number(c, decimal) for c in cells) > len(cells) / 2:
            return True, "its kinds differ from the columns'"
    if any(numeric):
        return False, "its kinds are the columns'"
    below = {cell for fields in others for cell in fields}
    names = len(set(first)) == len(first) and not below & set(first)
    return names, "none of its values occurs below" if names else "its values occur below"


def is_number(cell: str, decimal: str) -> bool:
    try:
        float(cell.replace(decimal, ".") if decimal != "." else cell)
    except ValueError:
        return False
    return True


def _names(first: Sequence[str], columns: int, has_header: bool) -> tuple[list[str], list[str]]:
    """The columns' names, distinct and not empty, and notes on what was changed."""
    if not has_header:
        return [str(i) for i in range(1, columns + 1)], []
    names, notes = [name.strip() for name in first], []
    if len(names) == columns - 1:
        names = ["row", *names]
        notes.append("one name fewer than columns: the first column holds row names")
    found: list[str] = []
    for i, name in enumerate(names):
        unique = name = name or f"column {i + 1}"
        while unique in found:
            unique += "_"
        if unique != name:
            notes.append(f"the name {name!r} occurs again and becomes {unique!r}")
        found.append(unique)
    return found, notes


def _ragged(text: str, separator: str, columns: int, has_header: bool) -> str:
    for line, fields in islice(_records(text, separator), int(has_header), None):
        if len(fields) > columns:
            return f"line {line} must have {columns} fields, got {len(fields)}"
    return "it is not a readable table: is the separator right (--separator)?"


def _lines_of(text: str, separator: str, has_header: bool, rows: Sequence[int]) -> list[int]:
    """The line of each row, for ascending rows."""
    lines = islice(_records(text, separator), int(has_header), None)
    wanted = set(rows)
    return [line for row, (line, _) in enumerate(islice(lines, max(rows) + 1)) if row in wanted]


# --- kinds ------------------------------------------------------------------------------------------------------------


def _typed(frame: Any, form: Format, kinds: Mapping[str, str], lines_of: Any, path: str) -> Any:
    """The frame with columns of numbers, booleans, dates and text. BadCells shows the first of all bad cells."""
    import polars as pl

    missing = [*MISSING, *form.missing]
    done, bad = [], []
    for series in frame.iter_columns():
        stripped = series.str.strip_chars()
        stripped = stripped.set(stripped.is_in(missing).fill_null(False), None)
        values = _as_kind(stripped, form, kinds.get(series.name))
        lost = (values.is_null() & stripped.is_not_null()).arg_true().to_list()
        if values.dtype == pl.Float64:
            lost = sorted({*lost, *values.is_infinite().fill_null(False).arg_true().to_list()})
        expected = "a date" if values.dtype == pl.Datetime else "a number"
        bad += [(row, series.name, stripped[row], expected) for row in lost]
        done.append(values)
    if bad:
        first = sorted(bad)[:SHOWN]
        lines = dict(zip(sorted({b[0] for b in first}), lines_of([b[0] for b in first]), strict=True))
        shown = "; ".join(f"line {lines[row]}, column {name!r}: {cell!r}" for row, name, cell, _ in first)
        count = f"{len(bad):,} bad cell{'s' * (len(bad) > 1)}"
        raise BadCells(
            f"{path} has {count}, where {first[0][3]} was expected: {shown}"
            f" (--missing {first[0][2]!r} would take such cells for missing values)"
        )
    return pl.DataFrame(done)


def _as_kind(series: Any, form: Format, kind: str | None) -> Any:
    """A column of stripped text as its kind; cells that do not suit become null."""
    import polars as pl

    filled = len(series) - series.null_count()
    if kind == "text":
        return series
    if kind == "date" or (kind is None and filled and (series.str.len_chars().min() or 0) >= 8):
        for pattern in DATES:
            dates = series.str.to_datetime(pattern, strict=False)
            if dates.null_count() == series.null_count():
                return dates
        iso = series.str.replace("T", " ", literal=True).str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
        if kind == "date" or iso.null_count() == series.null_count():
            return iso
    plain = _plain_numbers(series, form)
    numbers = plain.cast(pl.Float64, strict=False)
    if kind == "number" or (filled and len(series) - numbers.null_count() >= NUMERIC_SHARE * filled):
        whole = plain.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == series.null_count() else numbers
    lower = series.str.to_lowercase()
    if filled and lower.drop_nulls().is_in(["true", "false"]).all():
        return lower == "true"
    return series


def _plain_numbers(series: Any, form: Format) -> Any:
    """Text with decimal points, without percent signs if all cells have one, without separators of thousands.

    A comma separates thousands where it separates fields, too, so that such cells are quoted; a point does where the
    comma is the decimal mark.
    """
    if series.str.ends_with("%").drop_nulls().all():
        series = series.str.strip_suffix("%").str.strip_chars()
    mark, decimal = (".", ",") if form.decimal == "," else (",", ".")
    if form.separator == "," or form.decimal == ",":
        grouped = rf"^[+-]?[1-9]\d{{0,2}}(\{mark}\d{{3}})+(\{decimal}\d+)?$"
        has_groups = series.str.contains(grouped).fill_null(False)
        if has_groups.any():
            series = series.zip_with(~has_groups, series.str.replace_all(mark, "", literal=True))
    return series if form.decimal == "." else series.str.replace(form.decimal or ".", ".", literal=True)
