"""Helpers who stand by between the runs of a job: each has a line of JOB_CALLS, and the caller is worker 0.

caller   rouse    STANDING → CALLED; where a helper has GONE, the caller marks it as CALLED and sends one
         lead     its own part of the run, then waits until no helper is CALLED
helper   stand    its part of the run, CALLED → STANDING, and again when it is called; after a while without a call,
                  or after so many runs, it has GONE
"""

import functools

from fastbp.core.ir.atomics import atomic_load, atomic_store, compare_exchange, pause
from fastbp.core.ir.kernel import INT, VOID, call, call_int, kernel
from fastbp.core.slots import JOB
from fastbp.core.step.barrier import SLEEP, SPINS

GONE, STANDING, CALLED = range(3)
LINE = 8  # int64 of a cache line
PATIENCE = 2 * SPINS  # about 200 us


@functools.cache
def rouse():
    """Calls the helpers who stand by; those who have gone stay so."""

    @kernel(VOID(JOB), "rouse")
    def rouse(job):
        calls = job.calls
        for rank in range(1, job.workers):
            compare_exchange(calls, rank * LINE, STANDING, CALLED)

    return rouse


@functools.cache
def lead():
    """The run of worker 0; when it returns, no helper touches the job before the next call."""

    @kernel(VOID(JOB), "lead")
    def lead(job):
        calls = job.calls
        call(job.net.train, 0, job)
        for rank in range(1, job.workers):
            spins = 0
            while atomic_load(calls, rank * LINE) == CALLED:
                spins += 1
                if spins < SPINS:
                    pause()
                else:
                    call_int(job.sleep, SLEEP)

    return lead


@functools.cache
def stand():
    """The runs of a helper who has been called, until nobody calls again for a while, and so many at most."""

    @kernel(VOID(INT, JOB, INT), "stand")
    def stand(rank, job, runs):
        calls, at = job.calls, rank * LINE
        for run in range(runs):
            call(job.net.train, rank, job)
            if run + 1 == runs:
                atomic_store(calls, at, GONE)
                return
            atomic_store(calls, at, STANDING)
            spins = 0
            while atomic_load(calls, at) != CALLED:
                spins += 1
                if spins > PATIENCE and compare_exchange(calls, at, STANDING, GONE) == 1:
                    return
                pause()

    return stand
