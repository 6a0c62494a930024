"""Sources: inputs that are not a dense array of the model's dtype in memory, converted a piece at a time.

A source is a sparse matrix, a memmap, a pandas or polars frame, or a large array of another dtype or layout. Objects
are recognized by their methods, without importing these packages. The names of a frame's columns are not kept.
"""

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Numbers = range | NDArray[np.int64]
"""Row numbers: range(begin, end), or any array of them."""

PIECE_BYTES = 4 << 20
"""Of the rows that are read at once."""

CACHED_BYTES = 256 << 10
"""Of the rows that are written column by column."""

BUFFER_BYTES = 32 << 20
"""Of the rows that fit gathers for a run of mini-batches; a smaller source is read whole."""

COPY_BYTES = 512 << 20
"""Up to which an array in memory is converted as a whole: faster than a source over several epochs."""

MAPPED_BYTES = 32 << 20
"""Of a memmap's pages that are read before they are released."""

AROUND = 2 << 20
"""Bytes that Linux may map around an accessed address."""


class Source(ABC):
    """Rows of real numbers, (n, columns), that any thread copies out on demand."""

    in_memory: ClassVar[bool]
    """Whether it takes about as much memory as a dense array."""

    def __init__(self, rows: int, columns: int) -> None:
        self.shape = rows, columns

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, numbers: NDArray[np.int64]) -> "Source":
        """The rows of these numbers, as a source."""
        return Rows(self, numbers)

    @abstractmethod
    def take(self, out: Array, numbers: Numbers) -> None:
        """Overwrites out (len(numbers), columns) with these rows, in its dtype; overflow becomes infinite."""

    def dense(self, numbers: Numbers, dtype: DTypeLike) -> Array:
        """These rows as a new array."""
        out = np.empty((len(numbers), self.shape[1]), dtype)
        self.take(out, numbers)
        return out

    def whole(self, dtype: DTypeLike, name: str) -> Array:
        """All rows as one array. ValueError if it would be too large."""
        return self.dense(range(len(self)), dtype)

    def is_small(self, dtype: DTypeLike) -> bool:
        """Whether to convert it to a dense array as a whole."""
        size = self.shape[0] * self.shape[1] * np.dtype(dtype).itemsize
        return size <= (COPY_BYTES if self.in_memory else BUFFER_BYTES)


class Rows(Source):
    """Some rows of another source."""

    def __init__(self, source: Source, numbers: NDArray[np.int64]) -> None:
        super().__init__(len(numbers), source.shape[1])
        self.source, self.numbers = source, numbers

    def take(self, out: Array, numbers: Numbers) -> None:
        """See `Source`."""
        self.source.take(out, self.numbers[index(numbers)])


class InMemory(Source):
    """An array of any dtype and layout."""

    in_memory = True

    def __init__(self, array: Array) -> None:
        super().__init__(*array.shape)
        self.array = array

    @np.errstate(all="ignore")
    def take(self, out: Array, numbers: Numbers) -> None:
        """See `Source`."""
        for part, rows in pieces(out, numbers, PIECE_BYTES):
            part[...] = self.array[index(rows)]


class Mapped(InMemory):
    """A memmap, whose pages are released after each piece: the system keeps them while it has room.

    That bounds the memory for arrays in row-major order.
    """

    in_memory = False

    def __init__(self, array: Array, pages: mmap.mmap) -> None:
        super().__init__(array)
        self._pages = pages

    @np.errstate(all="ignore")
    def take(self, out: Array, numbers: Numbers) -> None:
        """See `Source`; scattered rows are read in the order of the file."""
        if isinstance(numbers, range):
            for part, rows in pieces(out, numbers, PIECE_BYTES):
                part[...] = self.array[index(rows)]
                self._pages.madvise(mmap.MADV_DONTNEED)
            return
        ascending = np.argsort(numbers)
        row = abs(self.array.strides[0])
        steps = np.diff(numbers[ascending], prepend=0) * row
        touched = np.cumsum(np.minimum(steps, max(row, AROUND)))
        for at in np.split(ascending, np.flatnonzero(np.diff(touched // MAPPED_BYTES)) + 1):
            out[at] = self.array[numbers[at]]
            self._pages.madvise(mmap.MADV_DONTNEED)

    def whole(self, dtype: DTypeLike, name: str) -> Array:
        """All rows: the memmap itself if it is of this dtype already."""
        return np.require(self.array, dtype, ["C", "A"])


class Sparse(Source):
    """A matrix in compressed rows (CSR)."""

    in_memory = False

    def __init__(self, matrix: Any) -> None:
        super().__init__(*matrix.shape)
        self.matrix = matrix

    @np.errstate(all="ignore")
    def take(self, out: Array, numbers: Numbers) -> None:
        """See `Source`."""
        for part, rows in pieces(out, numbers, PIECE_BYTES):
            self.matrix[index(rows)].astype(out.dtype).toarray(out=part)

    def whole(self, dtype: DTypeLike, name: str) -> Array:
        """ValueError: a matrix this large is never dense as a whole."""
        megabytes = len(self) * self.shape[1] * np.dtype(dtype).itemsize >> 20
        raise ValueError(
            f"{name} must be dense here, or sparse and at most {BUFFER_BYTES >> 20} MB as a dense array, "
            f"got a sparse matrix that would be {megabytes} MB: use fewer rows"
        )


class Columns(Source):
    """The columns of a frame, each with its own dtype."""

    in_memory = True

    def __init__(self, columns: list[Array], rows: int) -> None:
        super().__init__(rows, len(columns))
        self.columns = columns

    @np.errstate(all="ignore")
    def take(self, out: Array, numbers: Numbers) -> None:
        """See `Source`."""
        for part, rows in pieces(out, numbers, CACHED_BYTES):
            for k, values in enumerate(self.columns):
                part[:, k] = values[index(rows)]


def pieces(out: Array, numbers: Numbers, size: int) -> Iterator[tuple[Array, Numbers]]:
    """out and numbers in pieces of about `size` bytes of out."""
    step = max(1, size // max(1, out[:1].nbytes))
    for i in range(0, len(numbers), step):
        yield out[i : i + step], numbers[i : i + step]


def index(numbers: Numbers) -> slice | NDArray[np.int64]:
    """The index that selects these rows from an array."""
    return slice(numbers.start, numbers.stop) if isinstance(numbers, range) else numbers


def between(X: Array | Source, begin: int, end: int, dtype: DTypeLike) -> Array:
    """Rows begin … end - 1 as a dense array: a view of an array."""
    return X[begin:end] if isinstance(X, np.ndarray) else X.dense(range(begin, end), dtype)


# --- recognizing inputs -------------------------------------------------------------------------------------------


def opened(value: Any, name: str) -> Source | None:
    """The source over a sparse matrix or a frame; None for anything else."""
    if hasattr(value, "tocsr"):
        if value.ndim != 2:
            raise ValueError(f"{name} must be 2-D, one row per example, got shape {value.shape}")
        if value.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got {type(value).__name__} of dtype {value.dtype}")
        return Sparse(value.tocsr())
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return Columns([column(each, name) for each in series_of(value)], len(value))
    return None


def over(array: Array, dtype: DTypeLike) -> Array | Source:
    """The source over an array that is large and has to be converted or paged; any other array itself."""
    if array.size * np.dtype(dtype).itemsize <= BUFFER_BYTES:
        return array
    pages = mapping_of(array)
    if pages is None and array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    source = InMemory(array) if pages is None else Mapped(array, pages)
    return array if source.is_small(dtype) else source


def values(table: Any, name: str) -> Array:
    """The values of a pandas or polars frame or Series as one array; missing ones are NaN."""
    if not hasattr(table, "columns"):
        return column(table, name)
    columns = [column(each, name) for each in series_of(table)]
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0))


def series_of(frame: Any) -> list[Any]:
    """The columns of a polars or pandas frame, whatever their names."""
    return list(frame.get_columns()) if hasattr(frame, "get_columns") else [each for _, each in frame.items()]


FOREIGN = (ArithmeticError, AttributeError, BufferError, LookupError, RuntimeError, TypeError)
"""Errors of libraries whose object is not an array; exceptions of a user's signal handler are others."""


def asarray(value: Any, name: str, read: Callable[[], Any] | None = None) -> Array:
    """The value, or the result of `read`, as NumPy's array. ValueError for ragged rows, TypeError if the object's
    library refuses.
    """
    if read is None and isinstance(value, np.ndarray):
        return np.asarray(value)
    try:
        return np.asarray(value if read is None else read())
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    except FOREIGN as error:
        hint = "; use its detach().cpu()" if hasattr(value, "detach") else ""
        reason = " ".join(str(error).split())
        raise TypeError(
            f"{name} must be what NumPy can read as an array, got {type(value).__name__}, which says: {reason}{hint}"
        ) from error


def column(series: Any, name: str) -> Array:
    """The values of a pandas or polars Series: missing ones are NaN. TypeError if they are not real numbers."""
    dtype = getattr(series, "dtype", None)
    if not isinstance(dtype, np.dtype) and getattr(dtype, "kind", "O") in "biuf":  # pandas' nullable ones
        array: Array = series.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        array = asarray(series, name, series.to_numpy)
    dtype = array.dtype if dtype is None else dtype
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {dtype}{_of_column(series)}")
    return array


def _of_column(series: Any) -> str:
    name = getattr(series, "name", None)
    return "" if name in (None, "") else f" in column {name!r}"


def mapping_of(array: Array) -> mmap.mmap | None:
    """The file behind the array's memory, if its pages can be released: a np.memmap not in mode "c" (private)."""
    owner: Any = array
    while owner is not None:
        if isinstance(owner, np.memmap):
            pages = getattr(owner, "_mmap", None)
            shared = getattr(owner, "mode", "c") != "c" and hasattr(mmap, "MADV_DONTNEED")
            return pages if shared and isinstance(pages, mmap.mmap) else None
        owner = getattr(owner, "base", None)
    return None
