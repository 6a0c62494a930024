"""Where the threads of a run stay: on separate cores.

Linux may start a thread on the core of the thread that made it, and move one of them 10 ms later: longer than many
runs. Does nothing elsewhere. It asks the C library, whose calls raise nothing where they are not permitted.
"""

import _thread
import ctypes
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

CORES = 1 << 13
"""The most that a mask names."""

Mask = ctypes.c_ulong * (CORES // (8 * ctypes.sizeof(ctypes.c_ulong)))


class Places:
    """The cores that the caller may use: each worker of a run keeps one for itself, as long as there are any."""

    def __init__(self, allowed: set[int]) -> None:
        self._allowed, self._free = allowed, set(allowed)
        self._lock = _thread.allocate_lock()

    def take(self, alone: bool = False) -> None:
        """The calling thread stays on a free core; on all that the caller may use if it is alone or none is free."""
        where = current_core()
        if where is None:
            return
        core = None
        with self._lock:
            if not alone and self._free:
                here = where()
                core = here if here in self._free else min(self._free)
                self._free.remove(core)
        stay_on(self._allowed if core is None else {core})


def cores_of_caller() -> set[int]:
    """The cores that the calling thread may use; none where that is not known."""
    return set() if current_core() is None else os.sched_getaffinity(0)


def stay_on(cores: Iterable[int]) -> None:
    """Let the calling thread run on these cores only, if that is permitted; none: changes nothing."""
    mask, bits = Mask(), 8 * ctypes.sizeof(ctypes.c_ulong)
    for core in cores:
        mask[core // bits] |= 1 << core % bits
    if any(mask):
        c_library().sched_setaffinity(0, ctypes.sizeof(mask), mask)


def stay_off(core: int, allowed: set[int]) -> None:
    """Let the calling thread run on the allowed cores, but not on this one if there are others."""
    others = allowed - {core} or allowed
    if others and os.sched_getaffinity(0) != others:
        stay_on(others)


def way_back() -> Callable[[], object]:
    """A call of C that lets the calling thread run where it may run now."""
    mask = Mask()
    if current_core() is None or c_library().sched_getaffinity(0, ctypes.sizeof(mask), mask) < 0:
        return int  # does nothing
    return functools.partial(c_library().sched_setaffinity, 0, ctypes.sizeof(mask), mask)


@functools.cache
def current_core() -> Callable[[], int] | None:
    """The C library's sched_getcpu; None where there is none."""
    return getattr(c_library(), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


@functools.cache
def usleep_address() -> int:
    """Of the C library's usleep, with which a waiting worker sleeps. Linux and macOS."""
    return ctypes.cast(c_library().usleep, ctypes.c_void_p).value or 0


@functools.cache
def c_library() -> Any:
    """The C library: Python runs no signal handler before a call of it has returned."""
    library = ctypes.CDLL(None)
    for name in ("sched_getaffinity", "sched_setaffinity"):
        if function := getattr(library, name, None):
            function.argtypes = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    return library
