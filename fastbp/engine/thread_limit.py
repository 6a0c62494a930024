"""How many threads a call may use: what the program says, or else the least of what its surroundings grant.

The nearest statement counts: n_threads of the call, `thread_limit` around it, `set_threads` of the program; without
one, the least of the affinity mask, the cgroup's quota, OMP_NUM_THREADS, NUMBA_NUM_THREADS, and joblib's share. Nothing
exceeds the cores that the process may use (mask and quota): more threads only wait for each other.
"""

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Of the environment, that limit the threads of most numerical libraries."""

_limit: ContextVar[int | None] = ContextVar("fastbp_limit", default=None)
_program: int | None = None


def set_threads(n: int | None) -> None:
    """Let calls of this program use n threads at most; None: what the surroundings grant, as at the beginning."""
    global _program
    _program = None if n is None else checked("n", n)


@contextlib.contextmanager
def thread_limit(n: int) -> Iterator[None]:
    """Within the block, this thread's calls use n threads at most."""
    token = _limit.set(checked("n", n))
    try:
        yield
    finally:
        _limit.reset(token)


def limited(n_threads: object, function: Callable[..., Result], *arguments: object) -> Result:
    """function(*arguments) with `thread_limit` for an argument n_threads; None changes nothing.

    The limit is that of a context: it ends with the call even if an exception comes between any two instructions.
    """
    if n_threads is None:
        return function(*arguments)
    context = copy_context()
    context.run(_limit.set, checked("n_threads", n_threads))
    return context.run(function, *arguments)


def checked(name: str, n: object) -> int:
    from fastbp.inputs.checks import positive_int  # whose checks of large arrays use threads, and so this module

    return positive_int(name, n)


def stated_limit() -> int | None:
    """What the program says for calls from this thread; None if it says nothing."""
    return _limit.get() or _program


def threads_here() -> int:
    """How many threads calls from this thread may use."""
    stated = stated_limit()
    return min(cores(), granted()) if stated is None else clamped(stated)


def clamped(n: int) -> int:
    """Not more than the cores."""
    return min(n, cores())


def cores() -> int:
    """Those that the process may use: the affinity mask, and the cgroup's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, cgroup_quota() or count)


def granted() -> int:
    """The least of the environment's limits and of joblib's share."""
    stated = (number_in(os.environ.get(name, "")) for name in VARIABLES)
    return min(count for count in (sys.maxsize, *stated, joblib_share()) if count)


@functools.lru_cache(maxsize=64)
def number_in(text: str) -> int | None:
    """The first number of "4" or, for nested levels, "4,2"; None for anything else, also of more than nine digits."""
    first = text.partition(",")[0].strip()
    return int(first) or None if first.isdecimal() and len(first) < 10 else None


QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Files of a cgroup, of versions 2 and 1, that hold microseconds granted and the period for which they are."""


@functools.cache
def cgroup_quota(root: str = "/sys/fs/cgroup") -> int | None:
    """Cores that the process's cgroup grants by quota, rounded down; None without a quota."""
    for names in QUOTAS:
        try:
            quota, period = " ".join(Path(root, name).read_text() for name in names).split()
            return max(1, int(quota) // int(period)) if quota not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, OSError) and error.errno is None:  # no file's: a signal handler's TimeoutError
                raise
    return None


def joblib_share() -> int | None:
    """What joblib grants to one of its workers; None outside of them.

    It limits the threads of its worker processes by the variables that limit other libraries; its threads share one
    process, and none of them may count on another core.
    """
    parallel = sys.modules.get("joblib.parallel")
    if parallel is None or not getattr(parallel.get_active_backend()[0], "nesting_level", 0):
        return None
    in_process = threading.get_ident() == threading.main_thread().ident
    return number_in(os.environ.get("OMP_NUM_THREADS", "")) or 1 if in_process else 1
