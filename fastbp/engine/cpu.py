"""CPU affinity: each thread of a run on a separate core.

Linux may start a thread on the core of the thread that created it, and move one of them 10 ms later: longer than many
runs. On other systems these functions do nothing. They call the C library, which raises nothing if not permitted.
"""

import _thread
import ctypes
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

CORES = 1 << 13
"""The number of cores in an affinity mask."""

Mask = ctypes.c_ulong * (CORES // (8 * ctypes.sizeof(ctypes.c_ulong)))


class FreeCores:
    """The cores that the caller may use: pins each worker of a run to a separate one while any is free."""

    def __init__(self, allowed: set[int]) -> None:
        self._allowed, self._free = allowed, set(allowed)
        self._lock = _thread.allocate_lock()

    def pin_caller(self, alone: bool = False) -> None:
        """Pin the calling thread to a free core; to all that the caller may use if it is alone or none is free."""
        where = current_core()
        if where is None:
            return
        core = None
        with self._lock:
            if not alone and self._free:
                here = where()
                core = here if here in self._free else min(self._free)
                self._free.remove(core)
        pin_to(self._allowed if core is None else {core})


def cores_of_caller() -> set[int]:
    """The cores that the calling thread may use; none if unknown."""
    return set() if current_core() is None else os.sched_getaffinity(0)


def pin_to(cores: Iterable[int]) -> None:
    """Pin the calling thread to these cores, if permitted; without any, changes nothing."""
    mask, bits = Mask(), 8 * ctypes.sizeof(ctypes.c_ulong)
    for core in cores:
        mask[core // bits] |= 1 << core % bits
    if any(mask):
        c_library().sched_setaffinity(0, ctypes.sizeof(mask), mask)


def pin_away_from(core: int, allowed: set[int]) -> None:
    """Pin the calling thread to the allowed cores except this one, if there are others."""
    others = allowed - {core} or allowed
    if others and os.sched_getaffinity(0) != others:
        pin_to(others)


def affinity_restorer() -> Callable[[], object]:
    """A C call that restores the present affinity of the calling thread."""
    mask = Mask()
    if current_core() is None or c_library().sched_getaffinity(0, ctypes.sizeof(mask), mask) < 0:
        return int  # does nothing
    return functools.partial(c_library().sched_setaffinity, 0, ctypes.sizeof(mask), mask)


@functools.cache
def current_core() -> Callable[[], int] | None:
    """The C library's sched_getcpu; None if there is none."""
    return getattr(c_library(), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


@functools.cache
def usleep_address() -> int:
    """The address of the C library's usleep, by which a waiting worker sleeps. Linux and macOS."""
    return ctypes.cast(c_library().usleep, ctypes.c_void_p).value or 0


@functools.cache
def c_library() -> Any:
    """The C library: Python runs no signal handler before a call of it has returned."""
    library = ctypes.CDLL(None)
    for name in ("sched_getaffinity", "sched_setaffinity"):
        if function := getattr(library, name, None):
            function.argtypes = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    return library
