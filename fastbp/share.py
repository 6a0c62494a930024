"""The share of the cores that the surroundings of a call leave to it: a limit by the caller, or joblib's."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_limit: ContextVar[int | None] = ContextVar("fastbp_limit", default=None)


@contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Within the block this thread's calls use so many threads at most; None changes nothing."""
    token = _limit.set(_limit.get() if threads is None else threads)
    try:
        yield
    finally:
        _limit.reset(token)


def share_of(cores: int) -> int:
    """How many of the cores calls from this thread may use."""
    limit = _limit.get()
    return min(cores, joblib_share() or cores) if limit is None else limit


def joblib_share() -> int | None:
    """What joblib grants to one of its workers; None outside of them.

    It tells its worker processes by the variables that limit other libraries; its threads share one process, and none
    of them may count on another core.
    """
    parallel = sys.modules.get("joblib.parallel")
    if parallel is None or not getattr(parallel.get_active_backend()[0], "nesting_level", 0):
        return None
    granted = os.environ.get("OMP_NUM_THREADS", "")
    in_process = threading.current_thread() is threading.main_thread()
    return max(1, int(granted)) if in_process and granted.isdecimal() else 1
