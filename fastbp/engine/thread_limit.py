"""The number of threads that a call may use: the program's limit, else the minimum of the environment's limits.

The innermost setting counts: n_threads of the call, `thread_limit` around it, `set_threads` of the program; without
one, the minimum of the affinity mask, the cgroup's quota, OMP_NUM_THREADS, NUMBA_NUM_THREADS, and joblib's share. It
never exceeds the cores that the process may use (mask and quota): more threads would only wait for each other.
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

from fastbp.inputs.checks import positive_int

Result = TypeVar("Result")

VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables that limit the threads of most numerical libraries."""

_limit: ContextVar[int | None] = ContextVar("fastbp_limit", default=None)
_program: int | None = None


def set_threads(n: int | None) -> None:
    """Let calls of this program use n threads at most; None: the environment's limit, the default."""
    global _program
    _program = None if n is None else positive_int("n", n)


@contextlib.contextmanager
def thread_limit(n: int) -> Iterator[None]:
    """In the block, calls from this thread use n threads at most."""
    token = _limit.set(positive_int("n", n))
    try:
        yield
    finally:
        _limit.reset(token)


def limited(n_threads: object, function: Callable[..., Result], *arguments: object) -> Result:
    """function(*arguments) with `thread_limit` for an argument n_threads; None changes nothing.

    The limit belongs to a context: it ends with the call even if a signal handler raises at any instruction.
    """
    if n_threads is None:
        return function(*arguments)
    context = copy_context()
    context.run(_limit.set, positive_int("n_threads", n_threads))
    return context.run(function, *arguments)


def stated_limit() -> int | None:
    """The limit that the program has set for calls from this thread; None without one."""
    return _limit.get() or _program


def threads_here() -> int:
    """The number of threads that calls from this thread may use."""
    stated = stated_limit()
    return min(cores(), environment_limit()) if stated is None else clamped(stated)


def clamped(n: int) -> int:
    """n, at most the cores."""
    return min(n, cores())


def cores() -> int:
    """The cores that the process may use: the minimum of affinity mask and cgroup quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, cgroup_quota() or count)


def environment_limit() -> int:
    """The minimum of the environment's limits and joblib's share."""
    stated = (number_in(os.environ.get(name, "")) for name in VARIABLES)
    return min(count for count in (sys.maxsize, *stated, joblib_share()) if count)


@functools.lru_cache(maxsize=64)
def number_in(text: str) -> int | None:
    """The first number of "4" or, for nested levels, "4,2"; None for anything else, and for more than nine digits."""
    first = text.partition(",")[0].strip()
    return int(first) or None if first.isdecimal() and len(first) < 10 else None


QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Files of a cgroup, versions 2 and 1, with the quota in microseconds and its period."""


@functools.cache
def cgroup_quota(root: str = "/sys/fs/cgroup") -> int | None:
    """Cores that the process's cgroup grants by quota, rounded down; None without a quota."""
    for names in QUOTAS:
        try:
            quota, period = " ".join(Path(root, name).read_text() for name in names).split()
            return max(1, int(quota) // int(period)) if quota not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, OSError) and error.errno is None:  # not from a file: a signal handler's TimeoutError
                raise
    return None


def joblib_share() -> int | None:
    """joblib's share of the cores for the calling worker; None outside joblib.

    joblib limits its worker processes by the variables that limit other libraries. Its worker threads share one
    process, and none of them can rely on another core.
    """
    parallel = sys.modules.get("joblib.parallel")
    if parallel is None or not getattr(parallel.get_active_backend()[0], "nesting_level", 0):
        return None
    in_process = threading.get_ident() == threading.main_thread().ident
    return number_in(os.environ.get("OMP_NUM_THREADS", "")) or 1 if in_process else 1
