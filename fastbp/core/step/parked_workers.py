"""Parked workers: helpers that wait in machine code between the runs of a job. The caller is worker 0.

The state of each helper is at the start of its line of job.calls.

caller   wake               PARKED → CALLED; of a helper that has EXITED the caller sets CALLED and starts another
         run_as_worker_0    its part of the run, then waits until no helper is CALLED
helper   worker_loop        its part of the run, CALLED → PARKED, again after each call; EXITED after `runs` runs, or
                            after PATIENCE pauses without a call
"""

import functools

from fastbp.core.ir.atomics import atomic_load, atomic_store, compare_exchange, pause
from fastbp.core.ir.kernel import INT, VOID, call, call_int, kernel
from fastbp.core.slots import JOB
from fastbp.core.step.barrier import SLEEP, SPINS

EXITED, PARKED, CALLED = range(3)
LINE = 8  # int64 of a cache line
PATIENCE = 2 * SPINS  # pauses, about 200 us


@functools.cache
def wake():
    """Calls the parked helpers; the state of those that have exited does not change."""

    @kernel(VOID(JOB), "wake")
    def wake(job):
        calls = job.calls
        for rank in range(1, job.workers):
            compare_exchange(calls, rank * LINE, PARKED, CALLED)

    return wake


@functools.cache
def run_as_worker_0():
    """The run of worker 0; when it returns, no helper touches the job before the next call."""

    @kernel(VOID(JOB), "run_as_worker_0")
    def run_as_worker_0(job):
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

    return run_as_worker_0


@functools.cache
def worker_loop():
    """The runs of a helper that has been called: `runs` at most, fewer if it waits too long for the next call."""

    @kernel(VOID(INT, JOB, INT), "worker_loop")
    def worker_loop(rank, job, runs):
        calls, state = job.calls, rank * LINE
        for run in range(runs):
            call(job.net.train, rank, job)
            if run + 1 == runs:
                atomic_store(calls, state, EXITED)
                return
            atomic_store(calls, state, PARKED)
            spins = 0
            while atomic_load(calls, state) != CALLED:
                spins += 1
                if spins > PATIENCE and compare_exchange(calls, state, PARKED, EXITED) == 1:
                    return
                pause()

    return worker_loop
