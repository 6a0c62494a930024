"""A team of workers: how many, and running them until they are done or the user presses Ctrl-C."""

import contextlib
import ctypes
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fastbp.core import step
from fastbp.core import table as slots
from fastbp.core.interrupts import uninterrupted
from fastbp.crew import Crew
from fastbp.threads import threads_here

Result = TypeVar("Result")

FLOPS_A_WORKER = 16e6
"""Work in one step, in floating-point operations, that pays for one more worker: about 100 us of one core."""

FLOPS_A_PAIR, FLOPS_A_RUN = 0.6e6, 2e9
"""Work in one step that may pay for a second worker already, in a run of so much work: 4 us of one core, and 10 ms."""

SHORT_SECONDS = 0.2
"""For which Ctrl-C can wait, so that the calling thread may work itself."""

SLOWEST = 2e9
"""Floating-point operations in a second that a core does at least, in the smallest networks."""


@functools.cache
def usleep_address() -> int:
    """Of the C library's usleep, with which a waiting worker sleeps. Linux and macOS."""
    function = ctypes.CDLL(None).usleep
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def workers_for(flops: float, shards: int = 1, steps: float = 1) -> int:
    """The number of workers that steps of so many floating-point operations, in so many shards, pay for.

    steps: of a run; infinite for those of a team that stands by.
    """
    pair = 2 if flops >= FLOPS_A_PAIR and flops * steps >= FLOPS_A_RUN else 1
    return max(1, min(threads_here(), max(int(flops / FLOPS_A_WORKER), shards, pair)))


class Places:
    """The cores that the caller may use, of which each worker of a run keeps one for itself as long as there are any.

    Linux may start a thread on the core of the thread that made it, and move one of them 10 ms later: longer than many
    runs. Nothing elsewhere.
    """

    def __init__(self, allowed: set[int]) -> None:
        self._allowed, self._taken = allowed, set[int]()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def place(self, alone: bool) -> Iterator[None]:
        """Within the block the calling thread stays on a core of its own; alone, on those that the caller may use."""
        where = current_core()
        if where is None:
            yield
            return
        try:
            with self._lock:
                free = self._allowed - self._taken
                core = where() if where() in free else min(free, default=None)
                if alone or core is None:
                    stay_on(self._allowed)  # a helper may come from a caller with other cores
                else:
                    self._taken.add(core)
                    stay_on({core})
            yield
        finally:
            stay_on(self._allowed)


def cores_of_caller() -> set[int]:
    """The cores that the calling thread may use; none where that is not known."""
    return set() if current_core() is None else os.sched_getaffinity(0)


def stay_on(cores: set[int]) -> None:
    """Let the calling thread run on these cores only, if that is permitted."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, cores)


@functools.cache
def current_core() -> Callable[[], int] | None:
    """The C library's sched_getcpu; None where there is none."""
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


idle: list[ThreadPoolExecutor] = []
"""Helpers: threads, one each, that wait until a call needs one. To wake one takes 20 to 70 us, to start it 300."""


def helper() -> ThreadPoolExecutor:
    """One for the caller alone, who gives it back when it has nothing more to do."""
    try:
        return idle.pop()
    except IndexError:
        return ThreadPoolExecutor(1, thread_name_prefix="fastbp helper")


def give_back(helpers: Iterable[ThreadPoolExecutor]) -> None:
    """Some wait for the next call, one a core; the others end."""
    for threads in helpers:
        if len(idle) < (os.cpu_count() or 1):
            idle.append(threads)
        else:
            threads.shutdown(wait=False)


def end_helpers() -> None:
    """Wait until no idle helper is left: a fork would leave the child without their threads."""
    while idle:
        helper().shutdown(wait=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=end_helpers, after_in_child=idle.clear)


class Team:
    """The calling thread and helpers, which run the compiled worker of jobs; a context manager.

    The workers hold no lock of Python's. Whatever ends `run`, no worker still touches the job's memory when the
    context is left: they are told to stop, and meet nowhere without being counted. Where no thread can start, as at the
    end of the process or at a limit of the system, the calling thread runs the job alone: to the same bits.
    """

    def __init__(self, size: int) -> None:
        self._train, self._cores = step.train(size).ctypes, cores_of_caller()
        self._helpers: list[ThreadPoolExecutor] = []
        self._process = os.getpid()

    def __enter__(self) -> "Team":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget_after_fork()
        if error is None:  # then `run` has waited for all of them
            give_back(self._helpers)
            return
        if self._cores:
            stay_on(self._cores)  # an exception from a signal handler may have come before that
        self._end()

    def _forget_after_fork(self) -> None:
        """A callback may have forked: the child has none of the threads."""
        if self._process != os.getpid():
            self._helpers, self._process = [], os.getpid()

    def _end(self) -> None:
        for threads in self._helpers:
            threads.shutdown(wait=True)

    def run(self, job: NDArray[np.int64], memory: object, seconds: float) -> None:
        """As many workers as the job says run through it; a signal handler or another thread may set its JOB_STOP.

        memory: the owner of all that the job points to; a worker keeps it alive, whatever becomes of the caller.
        seconds: what it will take, more or less. If it is short, this thread is the first worker.
        """
        self._forget_after_fork()
        workers, crew = int(job[slots.JOB_WORKERS]), Crew()
        here, places = seconds <= SHORT_SECONDS, Places(self._cores)
        try:
            if not self._start(crew, range(here, workers), job, places, memory):
                self._run_alone(crew, job, places, memory)
                return
            if here:
                self._work(0, job, places, memory)
            crew.wait_for(workers - here)
        except BaseException:
            job[slots.JOB_STOP] = slots.STOP_FOR_GOOD
            crew.close()
            self._end()
            raise
        if crew.errors:
            raise crew.errors[0]

    def _start(self, crew: Crew, ranks: range, job: NDArray[np.int64], places: Places, memory: object) -> bool:
        """Helpers run the workers of these ranks; False if one of their threads cannot start."""
        try:
            while len(self._helpers) < len(ranks):
                self._helpers.append(helper())
            for rank, threads in zip(ranks, self._helpers, strict=False):
                threads.submit(crew.work, self._work, rank, job, places, memory)
        except RuntimeError:  # what Python raises then
            return False
        return True

    def _run_alone(self, crew: Crew, job: NDArray[np.int64], places: Places, memory: object) -> None:
        """The workers that have begun leave before the first step; then this thread makes all of them."""
        if job[slots.JOB_STOP] != slots.STOP_FOR_GOOD:
            job[slots.JOB_STOP] = slots.STOP_TEAM
        crew.close()
        self._end()
        self._helpers = []
        if job[slots.JOB_STOP] == slots.STOP_TEAM:
            job[slots.JOB_STOP] = 0
        job[slots.JOB_WORKERS], job[slots.JOB_ARRIVED] = 1, 0
        job[slots.JOB_OUTCOME : slots.JOB_OUTCOME + 3] = slots.COMPLETE
        self._work(0, job, places, memory)

    def _work(self, rank: int, job: NDArray[np.int64], places: Places, memory: object) -> None:
        with places.place(alone=job[slots.JOB_WORKERS] == 1):
            self._train(rank, job.ctypes.data)


def stay_off(core: int, allowed: set[int]) -> None:
    """Let the calling thread run on the allowed cores, but not on this one if there are others."""
    where = current_core()
    others = allowed - {core} or allowed
    if where is not None and os.sched_getaffinity(0) != others:
        stay_on(others)


def cut(count: int, size: int) -> list[tuple[int, int]]:
    """Begin and end of parts of `size`, the last perhaps smaller, that make up 0 … count."""
    return list(pairwise([*range(0, count, size), count]))


def each(function: Callable[[int, int], Result], parts: list[tuple[int, int]]) -> list[Result]:
    """function(begin, end) of all parts, in their order; this thread and helpers, one a core, take them in turn.

    Whatever ends it, no helper is still at work on a part.
    """
    waiting, results = deque(enumerate(parts)), dict[int, Result]()
    crew, called = Crew(), list[ThreadPoolExecutor]()

    def take() -> None:
        while True:
            try:
                i, part = waiting.popleft()
            except IndexError:
                return
            try:
                results[i] = function(*part)
            except BaseException:
                waiting.clear()  # the others end early
                raise

    def help_out(core: int, allowed: set[int]) -> None:
        if waiting:
            stay_off(core, allowed)
            take()

    try:
        if (extra := min(threads_here(), len(parts)) - 1) > 0:
            where = current_core()
            place = 0 if where is None else where(), cores_of_caller()
            with contextlib.suppress(RuntimeError):  # no thread can start, at the end of the process or elsewhere
                for _ in range(extra):
                    called.append(helper())
                    called[-1].submit(crew.work, help_out, *place)
        take()
    finally:
        waiting.clear()
        try:
            crew.close()
        finally:
            give_back(called)
    if crew.errors:
        raise crew.errors[0]
    return [results[i] for i in range(len(parts))]


def run_once(job: NDArray[np.int64], memory: object, workers: int, size: int, flops: float) -> None:
    """One job outside of fit: a short one of one worker without a team, which costs more than it."""
    seconds = flops / SLOWEST
    if workers == 1 and seconds <= SHORT_SECONDS:
        step.train(size).ctypes(0, job.ctypes.data)
        return

    def run() -> None:
        with Team(size) as team:
            team.run(job, memory, seconds)

    stop_on_interrupt(job, run)


def stop_on_interrupt(job: NDArray[np.int64], function: Callable[[], None]) -> None:
    """Call the function, which runs the job; Ctrl-C asks that to stop, and is a KeyboardInterrupt behind the call."""

    def stop() -> None:
        job[slots.JOB_STOP] = slots.STOP_FOR_GOOD

    uninterrupted(function, stop)
