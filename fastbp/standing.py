"""A team for short runs, one soon after the other: its helpers stand by between them."""

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from fastbp.core import standing
from fastbp.core import table as slots
from fastbp.program import address, aligned_zeros
from fastbp.team import cores_of_caller, current_core, give_back, helper, stay_off, stay_on

away = set[Future[None]]()
"""Of helpers who run or stand by."""

LONG = 0.01  # seconds


class Standing:
    """The calling thread and helpers for the runs of one job.

    To call a helper together takes some 100 us, more than the run of many networks: it stays for about 200 us, in which
    it answers at once.
    """

    def __init__(self, job: NDArray[np.int64], memory: object, workers: int) -> None:
        """memory: the owner of all that the job points to; a helper keeps it alive. workers: at most."""
        self._job, self._memory = job, memory
        self._calls = aligned_zeros(standing.LINE * workers, np.int64)
        self._process, self._sent = os.getpid(), list[Future[None]]()
        job[slots.JOB_CALLS] = address(self._calls)
        # compiled here: nobody would hear of an error in a helper
        self._rouse, self._lead, self._stand = (
            kernel.ctypes for kernel in (standing.rouse(), standing.lead(), standing.stand())
        )

    def run(self) -> None:
        """As many workers as the job says run through it."""
        job, where = self._job, self._job.ctypes.data
        if self._process != os.getpid():  # a fork leaves the child without helpers
            self._process, self._calls[:], self._sent = os.getpid(), standing.GONE, []
        try:
            self._rouse(where)
            for rank in range(1, int(job[slots.JOB_WORKERS])):
                if self._calls[rank * standing.LINE] == standing.GONE:
                    self._send(rank)
            self._lead(where)
        except BaseException:
            job[slots.JOB_STOP] = 1
            wait(self._sent)
            raise

    def _send(self, rank: int) -> None:
        threads, core = helper(), current_core()
        self._calls[rank * standing.LINE] = standing.CALLED
        future = threads.submit(self._help, rank, threads, 0 if core is None else core(), cores_of_caller())
        self._sent = [*(sent for sent in self._sent if not sent.done()), future]
        away.add(future)
        future.add_done_callback(away.discard)

    def _help(self, rank: int, threads: ThreadPoolExecutor, core: int, allowed: set[int]) -> None:
        stay_off(core, allowed)
        self._stand(rank, self._job.ctypes.data)
        if allowed:
            stay_on(allowed)
        give_back([threads])


def wait_for_all() -> None:
    """Until none is away, or a run of another thread takes too long: a fork leaves the child without their threads."""
    wait(away.copy(), LONG)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=wait_for_all, after_in_child=away.clear)  # which comes before `end_helpers`
