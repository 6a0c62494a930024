"""A team for short runs in quick succession: its helpers are parked between them."""

import functools
import os

import numpy as np
from numpy.typing import NDArray

from fastbp.core.ir.aside import NoThread
from fastbp.core.slots import STOP_FOR_GOOD, Job
from fastbp.core.step import parked_workers
from fastbp.core.step.parked_workers import EXITED, LINE
from fastbp.engine.cpu import cores_of_caller, current_core, pin_away_from
from fastbp.engine.crew import Crew
from fastbp.engine.helpers import call
from fastbp.engine.network_table import address, aligned_zeros

MOST_RUNS, MOST_FLOPS = 4000, 20e9
"""Of a helper before it returns to Python, about every 0.1 seconds: the interpreter may be about to end."""


class ParkedTeam:
    """The calling thread and helpers for the runs of one job.

    To start a helper takes some 100 us, more than the run of many networks: it waits for about 200 us, in which it
    answers at once.
    """

    def __init__(self, job: NDArray[np.int64], memory: object, workers: int, flops: float) -> None:
        """memory: the owner of all that the job points to, kept alive by helpers; workers: at most; flops: of a run."""
        self._job, self._memory, self._runs = job, memory, max(1, min(MOST_RUNS, int(MOST_FLOPS / flops)))
        self._calls = aligned_zeros(LINE * workers, np.int64)
        self._process, self._crew = os.getpid(), Crew()
        job[Job.calls] = address(self._calls)
        # compiled here: an error in a helper would be lost
        self._wake, self._run_as_worker_0, self._worker_loop = (
            make().ctypes for make in (parked_workers.wake, parked_workers.run_as_worker_0, parked_workers.worker_loop)
        )

    def run(self) -> None:
        """Runs the job with `Job.workers` workers."""
        job, where = self._job, self._job.ctypes.data
        if self._process != os.getpid():  # a fork leaves the child without helpers
            self._process, self._calls[:], self._crew = os.getpid(), EXITED, Crew()
        try:
            self._wake(where)
            exited = [r for r in range(1, int(job[Job.workers])) if self._calls[r * LINE] == EXITED]
            if exited:
                self._send(exited)
            self._run_as_worker_0(where)
        except BaseException:
            try:
                self._stop()
            finally:  # an exception may have come at its start
                self._stop()
            raise

    def _stop(self) -> None:
        """After this no helper touches the job: those that have not begun find the crew closed."""
        self._job[Job.stop] = STOP_FOR_GOOD
        self._crew.close()
        self._calls[:], self._crew = EXITED, Crew()

    def _send(self, ranks: list[int]) -> None:
        """Helpers take these ranks; if no thread can start, the caller is alone."""
        if not self._crew.at_work:  # all that were sent have run; a crew grows with each of them
            self._crew = Crew()
        core = current_core()
        place = 0 if core is None else core(), cores_of_caller()
        try:
            for rank in ranks:
                self._calls[rank * LINE] = parked_workers.CALLED
                call(functools.partial(self._crew.work, self._help, rank, *place))
        except NoThread:
            self._stop()
            for slot, value in ((Job.stop, 0), (Job.arrived, 0), (Job.workers, 1)):
                self._job[slot] = value

    def _help(self, rank: int, core: int, allowed: set[int]) -> None:
        pin_away_from(core, allowed)
        self._worker_loop(rank, self._job.ctypes.data, self._runs)
