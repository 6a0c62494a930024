"""A team of workers: how many, and running them until they are done or the user presses Ctrl-C."""

import contextlib
import ctypes
import functools
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fastbp.core import step
from fastbp.core import table as slots
from fastbp.core.compile import interrupt_afterwards
from fastbp.share import share_of

FLOPS_A_WORKER = 16e6
"""Work in one step, in floating-point operations, that pays for one more worker: about 150 us of one core."""

POLL_SECONDS = 0.05
"""How often the waiting thread looks up: a signal that another thread has received does not wake it."""

LONG_FLOPS = 1e9
"""Work, in floating-point operations, for which Ctrl-C should not have to wait."""


@functools.cache
def usleep_address() -> int:
    """Of the C library's usleep, with which a waiting worker sleeps. Linux and macOS."""
    function = ctypes.CDLL(None).usleep
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def available_cores() -> int:
    """Cores that this call may use: the affinity mask, the cgroup's quota, a share of them in a worker of joblib's."""
    cores = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):
        cores = len(os.sched_getaffinity(0))
    return max(1, share_of(min(cores, cgroup_quota() or cores)))


@functools.cache
def cgroup_quota() -> int | None:
    """Cores that the process's cgroup grants by quota, rounded down; None without a quota."""
    with contextlib.suppress(OSError, ValueError):
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            return max(1, int(quota) // int(period))
    return None


def workers_for(flops: float) -> int:
    """The number of workers that a step of so many floating-point operations pays for."""
    return max(1, min(available_cores(), int(flops / FLOPS_A_WORKER)))


class Team:
    """Threads that run the compiled worker of jobs, for as long as one call lasts; a context manager.

    The workers hold no lock of Python's. Whatever ends `run`, no worker still touches the job's memory when the
    context is left: they are told to stop, and meet nowhere without being counted.
    """

    def __init__(self, workers: int, size: int) -> None:
        self._train = step.train(size).ctypes
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="fastbp")

    def __enter__(self) -> "Team":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True)

    def run(self, job: NDArray[np.int64], memory: object) -> None:
        """As many workers as the job says run through it; a signal handler or another thread may set its JOB_STOP.

        memory: the owner of all that the job points to; a worker keeps it alive, whatever becomes of the caller.
        """
        workers = int(job[slots.JOB_WORKERS])
        futures: list[Future[None]] = []  # not a comprehension: if one submit fails, the others are waited for
        try:
            for rank in range(workers):
                futures.append(self._threads.submit(self._work, rank, job, memory))  # noqa: PERF401
            while wait(futures, POLL_SECONDS).not_done:
                pass
        except BaseException:
            job[slots.JOB_STOP] = 1
            wait(futures)
            raise
        for future in futures:
            future.result()

    def _work(self, rank: int, job: NDArray[np.int64], memory: object) -> None:
        self._train(rank, job.ctypes.data)


def run_once(job: NDArray[np.int64], memory: object, workers: int, size: int, flops: float) -> None:
    """One job outside of fit: a short one without threads, which cost more than it."""
    if workers == 1 and flops < LONG_FLOPS:
        step.train(size).ctypes(0, job.ctypes.data)
        return
    with stop_on_interrupt(job), Team(workers, size) as team:
        team.run(job, memory)


def stop_on_interrupt(job: NDArray[np.int64]) -> AbstractContextManager[None]:
    """Within the block Ctrl-C asks the job to stop; behind it, it becomes a KeyboardInterrupt."""

    def stop() -> None:
        job[slots.JOB_STOP] = 1

    manager: AbstractContextManager[None] = interrupt_afterwards(stop)
    return manager
