"""A team for short runs, one soon after the other: its helpers stand by between them."""

import os
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fastbp.core import standing
from fastbp.core import table as slots
from fastbp.core.interrupts import uninterrupted
from fastbp.crew import Crew
from fastbp.program import address, aligned_zeros
from fastbp.team import cores_of_caller, current_core, give_back, helper, stay_off, stay_on

crews = weakref.WeakSet[Crew]()
"""Of helpers that may run or stand by."""

LONG = 0.01  # seconds
MOST_RUNS, MOST_FLOPS = 4000, 20e9
"""Of a helper before it comes back to Python, some 0.1 seconds: the interpreter may be about to end."""


class Standing:
    """The calling thread and helpers for the runs of one job.

    To call a helper together takes some 100 us, more than the run of many networks: it stays for about 200 us, in which
    it answers at once.
    """

    def __init__(self, job: NDArray[np.int64], memory: object, workers: int, flops: float) -> None:
        """memory: the owner of all that the job points to, kept alive by helpers; workers: at most; flops: of a run."""
        self._job, self._memory, self._runs = job, memory, max(1, min(MOST_RUNS, int(MOST_FLOPS / flops)))
        self._calls = aligned_zeros(standing.LINE * workers, np.int64)
        self._process, self._crew = os.getpid(), self._new_crew()
        job[slots.JOB_CALLS] = address(self._calls)
        # compiled here: nobody would hear of an error in a helper
        self._rouse, self._lead, self._stand = (
            kernel.ctypes for kernel in (standing.rouse(), standing.lead(), standing.stand())
        )

    def run(self) -> None:
        """As many workers as the job says run through it."""
        job, where = self._job, self._job.ctypes.data
        if self._process != os.getpid():  # a fork leaves the child without helpers
            self._process, self._calls[:], self._crew = os.getpid(), standing.GONE, self._new_crew()
        try:
            self._rouse(where)
            gone = [r for r in range(1, int(job[slots.JOB_WORKERS])) if self._calls[r * standing.LINE] == standing.GONE]
            if gone:
                uninterrupted(lambda: self._send(gone))  # threads and their queues have locks that must not stay locked
            self._lead(where)
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        """When this returns no helper touches the job."""
        self._job[slots.JOB_STOP] = slots.STOP_FOR_GOOD
        self._crew.close()
        self._crew = self._new_crew()

    def _send(self, ranks: list[int]) -> None:
        """Helpers take these ranks; if no thread can start, as when the interpreter ends, the caller is alone."""
        if not self._crew.at_work:  # all that were sent have run; a crew grows with each of them
            self._crew = self._new_crew()
        try:
            for rank in ranks:
                self._send_one(rank)
        except RuntimeError:
            self._stop()
            self._calls[:] = standing.GONE
            for slot, value in ((slots.JOB_STOP, 0), (slots.JOB_ARRIVED, 0), (slots.JOB_WORKERS, 1)):
                self._job[slot] = value

    def _send_one(self, rank: int) -> None:
        threads, core = helper(), current_core()
        self._calls[rank * standing.LINE] = standing.CALLED
        place = 0 if core is None else core(), cores_of_caller()
        threads.submit(self._crew.work, self._help, rank, threads, *place)

    @staticmethod
    def _new_crew() -> Crew:
        crew = Crew()
        crews.add(crew)
        return crew

    def _help(self, rank: int, threads: ThreadPoolExecutor, core: int, allowed: set[int]) -> None:
        stay_off(core, allowed)
        self._stand(rank, self._job.ctypes.data, self._runs)
        if allowed:
            stay_on(allowed)
        give_back([threads])


def wait_for_all() -> None:
    """Until no helper is at work, or a run of another thread takes too long: a fork leaves the child without them."""
    for crew in list(crews):
        crew.rest(LONG)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=wait_for_all, after_in_child=crews.clear)  # which comes before `end_helpers`
