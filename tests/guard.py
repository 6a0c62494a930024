"""Arrays whose memory ends, or begins, at an inaccessible page: one element too far kills the process."""

import ctypes
import functools
import mmap
import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Side = Literal["end", "begin"]
SIDES: tuple[Side, ...] = ("end", "begin")
PAGE = mmap.PAGESIZE
PROT_NONE, PROT_READ, PROT_READ_WRITE = 0, 1, 3


class Guard:
    """Makes arrays that touch a guard page on one side; on the other lies less than a page of signs, which
    intact() looks at, and then another guard page."""

    SIGN = 0xA5

    def __init__(self, side: Side) -> None:
        self.side = side
        self.made: list[tuple[NDArray[np.uint8], slice]] = []

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of NaN that ends where an inaccessible page begins ("end"), or the reverse ("begin")."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        usable = max(1, -(-size // PAGE)) * PAGE
        # The memory lives as long as an array looks at it: the buffer protocol keeps the map alive.
        pages = mmap.mmap(-1, usable + 2 * PAGE)
        memory: NDArray[np.uint8] = np.frombuffer(pages, np.uint8)
        _protect(memory.ctypes.data, PAGE, PROT_NONE)
        _protect(memory.ctypes.data + PAGE + usable, PAGE, PROT_NONE)
        inside = memory[PAGE : PAGE + usable]
        inside[:] = self.SIGN
        used = slice(usable - size, usable) if self.side == "end" else slice(0, size)
        self.made.append((inside, used))
        array = inside[used].view(dtype).reshape(shape)
        array[...] = np.nan if dtype.kind == "f" else 0
        return array

    def copy(self, values: ArrayLike, dtype: DTypeLike | None = None, writeable: bool = True) -> NDArray[Any]:
        """The values in a guarded array; its pages are read-only unless writeable."""
        values = np.asarray(values, dtype)
        array = self.empty(values.shape, values.dtype)
        array[...] = values
        if not writeable:
            inside = self.made[-1][0]
            _protect(inside.ctypes.data, inside.size, PROT_READ)
            array.flags.writeable = False
        return array

    def intact(self) -> bool:
        """Whether nothing was written on the unguarded side of any array."""
        return all(
            (inside[: used.start] == self.SIGN).all() and (inside[used.stop :] == self.SIGN).all()
            for inside, used in self.made
        )

    def check(self) -> None:
        """Asserts that all arrays are intact, and forgets them."""
        assert self.intact(), f"written outside an array, away from the guard page at its {self.side}"
        self.made.clear()


@functools.cache
def _mprotect() -> Callable[..., int]:
    function: Callable[..., int] = ctypes.CDLL(None, use_errno=True).mprotect
    return function


def _protect(address: int, size: int, protection: int) -> None:
    if _mprotect()(ctypes.c_void_p(address), ctypes.c_size_t(size), protection) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
