"""Parked workers: a helper runs once for each call, and no state is skipped. The steps that they train are those of one
thread: see behaviour/test_parked_team.py.
"""

import threading

import numpy as np
import pytest
from kernel_calls import run, uncached

from fastbp.core.ir.atomics import atomic_add
from fastbp.core.ir.kernel import INT, VOID, kernel
from fastbp.core.slots import JOB, JOB_SLOTS, Job, Net
from fastbp.core.step.parked_workers import CALLED, GONE, LINE, STANDING, lead, rouse, stand
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
    lines[:, 0] = STANDING, STANDING, GONE
    run(rouse(), job)
    assert lines[:, 0].tolist() == [STANDING, CALLED, GONE]


def test_worker_0_runs_and_waits_for_no_worker_that_is_not_called(tables) -> None:
    job, _, lines = tables
    lines[:, 0] = GONE, STANDING, GONE
    run(lead(), job)
    assert lines[:, 1].tolist() == [1, 0, 0]


def test_a_worker_that_is_not_called_again_leaves(tables) -> None:
    job, _, lines = tables
    lines[1, 0] = CALLED
    run(stand(), 1, job, RUNS)
    assert lines[1, :2].tolist() == [GONE, 1]


def test_each_call_is_answered_by_one_run_of_each_worker(tables) -> None:
    job, _, lines = tables
    lines[:, 0] = GONE
    threads: list[threading.Thread] = []
    for calls in range(1, 51):
        run(rouse(), job)
        for rank in np.flatnonzero(lines[1:, 0] == GONE) + 1:
            lines[rank, 0] = CALLED
            threads.append(threading.Thread(target=run, args=(stand(), int(rank), job, RUNS)))
            threads[-1].start()
        run(lead(), job)
        assert lines[:, 1].tolist() == [calls] * WORKERS
    for thread in threads:
        thread.join()
    assert (lines[1:, 0] == GONE).all()
