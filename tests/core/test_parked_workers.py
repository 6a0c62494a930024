"""Parked workers: a helper runs once for each call, and no state is skipped. The steps that they train are those of one
thread: see behaviour/test_parked_team.py.
"""

import threading

import numpy as np
import pytest
from kernel_calls import run, uncached

from fastbp.core.ir.atomics import atomic_add, atomic_load, compare_exchange
from fastbp.core.ir.kernel import INT, VOID, kernel
from fastbp.core.slots import JOB, JOB_SLOTS, Job, Net
from fastbp.core.step.parked_workers import CALLED, EXITED, LINE, PARKED, run_as_worker_0, wake, worker_loop
from fastbp.engine.cpu import usleep_address

WORKERS, RUNS = 3, 5


@kernel(VOID(INT, JOB))
def count_run(rank, job):
    """Replaces training: counts the runs of this worker in the slot behind its state."""
    atomic_add(job.calls, rank * LINE + 1, 1)


@pytest.fixture
def tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A job, the network table that it names, and the workers' lines."""
    job, net = np.zeros(JOB_SLOTS, np.int64), np.zeros(Net.slots, np.int64)
    lines = np.zeros((WORKERS, LINE), np.int64)
    net[Net.train] = uncached(count_run).address
    job[[Job.net, Job.calls, Job.workers, Job.sleep]] = net.ctypes.data, lines.ctypes.data, WORKERS, usleep_address()
    return job, net, lines


def test_only_parked_workers_are_called(tables) -> None:
    job, _, lines = tables
    lines[:, 0] = PARKED, PARKED, EXITED
    run(wake(), job)
    assert lines[:, 0].tolist() == [PARKED, CALLED, EXITED]


def test_worker_0_runs_and_waits_for_no_worker_that_is_not_called(tables) -> None:
    job, _, lines = tables
    lines[:, 0] = EXITED, PARKED, EXITED
    run(run_as_worker_0(), job)
    assert lines[:, 1].tolist() == [1, 0, 0]


def test_a_worker_that_is_not_called_again_leaves(tables) -> None:
    job, _, lines = tables
    lines[1, 0] = CALLED
    run(worker_loop(), 1, job, RUNS)
    assert lines[1, :2].tolist() == [EXITED, 1]


@kernel(VOID(JOB))
def keep_calling(job):
    """Calls worker 1 whenever it is parked, until it exits or has run too often."""
    while atomic_load(job.calls, LINE) != EXITED and atomic_load(job.calls, LINE + 1) <= RUNS:
        compare_exchange(job.calls, LINE, PARKED, CALLED)


def test_a_worker_leaves_after_the_stated_number_of_runs(tables) -> None:
    job, _, lines = tables
    for _ in range(20_000):  # on a busy machine a call may come too late, so that the worker leaves before
        lines[1, :2] = CALLED, 0
        caller = threading.Thread(target=run, args=(uncached(keep_calling), job))
        caller.start()
        run(worker_loop(), 1, job, RUNS)
        caller.join()
        assert lines[1, 0] == EXITED
        if lines[1, 1] >= RUNS:
            break
    assert lines[1, 1] == RUNS


def test_each_call_is_answered_by_one_run_of_each_worker(tables) -> None:
    job, _, lines = tables
    lines[:, 0] = EXITED
    threads: list[threading.Thread] = []
    for calls in range(1, 51):
        run(wake(), job)
        for rank in np.flatnonzero(lines[1:, 0] == EXITED) + 1:
            lines[rank, 0] = CALLED
            threads.append(threading.Thread(target=run, args=(worker_loop(), int(rank), job, RUNS)))
            threads[-1].start()
        run(run_as_worker_0(), job)
        assert lines[:, 1].tolist() == [calls] * WORKERS
    for thread in threads:
        thread.join()
    assert (lines[1:, 0] == EXITED).all()
