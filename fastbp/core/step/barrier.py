"""The barrier of a team: no worker begins a phase of the step before all have ended the one before it."""

from fastbp.core.ir.atomics import atomic_add, atomic_load, compare_exchange, pause
from fastbp.core.ir.kernel import call_int, inline
from fastbp.core.slots import COMPLETE

SPINS = 4000  # about 100 us before a waiting worker sleeps
SLEEP = 50  # us


@inline
def barrier(job, number, outcome):
    """Wait until all workers have come to this barrier. 1: go on; 0: the caller asked to stop, or a phase went wrong.

    Barriers are numbered from 1; each reads the outcome of the phase before it. All workers get the same answer: one
    that leaves takes its arrival back, and only while the barrier is incomplete; and no outcome that a barrier reads
    is written again before all have left it, because there is another barrier between.
    """
    workers = job.workers
    complete = number * workers
    if workers > 1 and atomic_add(job.arrived, 0, 1) < complete - 1:
        spins = 0
        arrived = atomic_load(job.arrived, 0)
        while arrived < complete:
            if atomic_load(job.stop, 0) != 0 and compare_exchange(job.arrived, 0, arrived, arrived - 1) == 1:
                return 0
            spins += 1
            if spins < SPINS:
                pause()
            else:
                call_int(job.sleep, SLEEP)
            arrived = atomic_load(job.arrived, 0)
    return int(atomic_load(job.outcomes, outcome) == COMPLETE)
