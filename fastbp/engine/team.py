"""A team of workers: how many, and running them until they are done or the user presses Ctrl-C."""

import contextlib
import functools
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fastbp.core.ir.aside import NoThread
from fastbp.core.slots import COMPLETE, STOP_FOR_GOOD, STOP_TEAM, Job
from fastbp.core.step import train
from fastbp.engine.cpu import FreeCores, affinity_restorer, cores_of_caller, current_core, pin_away_from
from fastbp.engine.crew import Crew
from fastbp.engine.helpers import call
from fastbp.engine.interrupts import uninterrupted
from fastbp.engine.thread_limit import threads_here

Result = TypeVar("Result")

FLOPS_A_WORKER = 16e6
"""Work in one step, in floating-point operations, that pays for one more worker: about 100 us of one core."""

FLOPS_A_PAIR, FLOPS_A_RUN = 0.6e6, 2e9
"""Work in one step and in its run, at least, that already pays for a second worker: 4 us of one core, and 10 ms."""

SHORT_SECONDS = 0.2
"""For which Ctrl-C can wait, so that the calling thread may work itself."""

SLOWEST = 2e9
"""Floating-point operations in a second that a core does at least, in the smallest networks."""


def workers_for(flops: float, shards: int = 1, steps: float = 1) -> int:
    """The number of workers that steps of `flops` floating-point operations, in `shards` shards, pay for.

    steps: of a run; infinite for those of a parked team.
    """
    pair = 2 if flops >= FLOPS_A_PAIR and flops * steps >= FLOPS_A_RUN else 1
    return max(1, min(threads_here(), max(int(flops / FLOPS_A_WORKER), shards, pair)))


class Team:
    """The calling thread and helpers, which run the compiled worker of jobs.

    The workers hold no lock of Python's. However `run` ends, no worker touches the job's memory after it. Where no
    thread can start, as at the end of the process or at a limit of the system, the caller runs the job alone,
    bit-identically.
    """

    def __init__(self, size: int) -> None:
        self._train = train.train(size).ctypes

    def run(self, job: NDArray[np.int64], memory: object, seconds: float) -> None:
        """Job.workers workers run the job; a signal handler or another thread may set its Job.stop.

        memory: the owner of all that the job points to; a worker keeps it alive even if the caller ends.
        seconds: what it will take, more or less. If it is short, this thread is the first worker.
        """
        if job[Job.workers] == 1 and seconds <= SHORT_SECONDS:
            self._train(0, job.ctypes.data)
            return
        crew, back = Crew(), affinity_restorer()
        try:
            try:
                self._run(crew, job, memory, seconds)
            except BaseException:
                job[Job.stop] = STOP_FOR_GOOD
                raise
            finally:
                crew.close()
        finally:  # an exception may have come at the start of the first `close`
            back()
            crew.close()
        if crew.errors:
            raise crew.errors[0]

    def _run(self, crew: Crew, job: NDArray[np.int64], memory: object, seconds: float) -> None:
        workers, here, free = int(job[Job.workers]), seconds <= SHORT_SECONDS, FreeCores(cores_of_caller())
        try:
            for rank in range(here, workers):
                call(functools.partial(crew.work, self._work, rank, job, free, memory))
        except NoThread:
            self._run_alone(crew, job, free, memory)
            return
        if here:
            self._work(0, job, free, memory)
        crew.wait_for(workers - here)

    def _run_alone(self, crew: Crew, job: NDArray[np.int64], free: FreeCores, memory: object) -> None:
        """The workers that have begun leave before the first step; then this thread makes all of them."""
        if job[Job.stop] != STOP_FOR_GOOD:
            job[Job.stop] = STOP_TEAM
        crew.close()
        if job[Job.stop] == STOP_TEAM:
            job[Job.stop] = 0
        job[Job.workers], job[Job.arrived] = 1, 0
        job[Job.outcomes : Job.outcomes + 3] = COMPLETE
        self._work(0, job, free, memory)

    def _work(self, rank: int, job: NDArray[np.int64], free: FreeCores, memory: object) -> None:
        free.pin_caller(alone=job[Job.workers] == 1)
        self._train(rank, job.ctypes.data)


def cut(count: int, size: int) -> list[tuple[int, int]]:
    """Begin and end of parts of `size`, the last perhaps smaller, that make up 0 … count."""
    return list(pairwise([*range(0, count, size), count]))


def each(function: Callable[[int, int], Result], parts: list[tuple[int, int]]) -> list[Result]:
    """function(begin, end) of all parts, in their order; this thread and helpers, one a core, take them in turn.

    However it ends, no helper still works on a part.
    """
    if len(parts) == 1:
        return [function(*parts[0])]
    waiting, results = deque(enumerate(parts)), dict[int, Result]()
    crew = Crew()

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
            pin_away_from(core, allowed)
            take()

    try:
        try:
            if (extra := min(threads_here(), len(parts)) - 1) > 0:
                where = current_core()
                place = 0 if where is None else where(), cores_of_caller()
                with contextlib.suppress(NoThread):
                    for _ in range(extra):
                        call(functools.partial(crew.work, help_out, *place))
            take()
        finally:
            waiting.clear()
            crew.close()
    finally:  # an exception may have come at the start of the first `close`
        waiting.clear()
        crew.close()
    if crew.errors:
        raise crew.errors[0]
    return [results[i] for i in range(len(parts))]


def run_once(job: NDArray[np.int64], memory: object, workers: int, size: int, flops: float) -> None:
    """One job outside of fit: a short one of one worker without a team, which costs more than it."""
    seconds = flops / SLOWEST
    if workers == 1 and seconds <= SHORT_SECONDS:
        train.train(size).ctypes(0, job.ctypes.data)
        return

    def run() -> None:
        Team(size).run(job, memory, seconds)

    stop_on_interrupt(job, run)


def stop_on_interrupt(job: NDArray[np.int64], function: Callable[[], None]) -> None:
    """Call the function, which runs the job; Ctrl-C stops the job, and raises KeyboardInterrupt after the call."""

    def stop() -> None:
        job[Job.stop] = STOP_FOR_GOOD

    uninterrupted(function, stop)
