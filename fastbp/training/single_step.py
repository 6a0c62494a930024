"""One mini-batch at a time: keeps what `fit` builds in each call (job, workspace, team) from step to step."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.core import slots, workspace
from fastbp.core.step.train import apply as apply_kernel
from fastbp.engine.job import Array, Examples
from fastbp.engine.network_table import address
from fastbp.engine.parked_team import ParkedTeam
from fastbp.engine.problem import Problem
from fastbp.engine.state import TrainingState
from fastbp.engine.team import SHORT_SECONDS, SLOWEST, run_once, workers_for
from fastbp.engine.thread_limit import limited, stated_limit, threads_here
from fastbp.inputs.arrays import as_vector
from fastbp.inputs.checks import number_in
from fastbp.optimizers import Optimizer, ScheduledOptimizer, as_optimizer
from fastbp.schedules import MOST, START, Progress, as_schedule
from fastbp.training.autotune import autotune_of
from fastbp.training.prepare import check_not_in_fit, learning_job
from fastbp.training.record import average
from fastbp.training.run import divergence

KEPT_BYTES = 1 << 26
"""Largest workspace kept for the next step; to allocate a larger one takes little of the step's time."""

AHEAD = 64
"""Steps whose settings are computed together: to compute them for one takes longer than a small network's step."""


class SingleSteps:
    """A model's steps, one call each; keeps the last one's stepper for the next."""

    def __init__(self) -> None:
        self.stepper: Stepper | None = None

    def step(
        self,
        problem: Problem,
        state: TrainingState,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        optimizer: Any,
        n_threads: Any,
    ) -> float:
        """See `Model.step`."""
        _check_idle(state, "step")
        new = state.optimizer if optimizer is None else as_optimizer(optimizer)

        def run() -> tuple[Stepper, float]:
            examples = problem.smoothed(problem.examples(X, y, sample_weight, whole=True))
            stepper = self._take_or_create(problem, state, examples, new, n_threads)
            return stepper, stepper.step(examples)

        stepper, cost = limited(n_threads, run)
        self._keep(stepper)
        return cost

    def apply_gradient(
        self, problem: Problem, state: TrainingState, gradient: ArrayLike, cost: Any, optimizer: Any
    ) -> None:
        """See `Model.apply_gradient`."""
        _check_idle(state, "apply_gradient")
        new = state.optimizer if optimizer is None else as_optimizer(optimizer)
        g = as_vector(gradient, state.theta.size, problem.dtype, "gradient")
        if cost is not None:
            cost = number_in("cost", cost, -MOST, MOST)
        elif as_schedule(new.learning_rate).each_epoch:
            raise ValueError("cost must be given with the gradient because OnPlateau needs it, got None")
        placeholder = problem.one_example()
        stepper = self._take_or_create(problem, state, placeholder, new, 1)
        stepper.apply(problem, placeholder, g, cost)
        self._keep(stepper)

    def _take_or_create(
        self, problem: Problem, state: TrainingState, examples: Examples, optimizer: Optimizer, threads: int | None
    ) -> "Stepper":
        """The stepper that is kept, if it can run this step, or a new one; after an exception none is kept."""
        net = problem.net(examples, len(examples), dropout=True)
        stepper, self.stepper = self.stepper, None
        if stepper is None or not stepper.can_run(problem, net, len(examples), optimizer, threads):
            stepper = Stepper(problem, state, net, examples, optimizer, threads)
        return stepper

    def _keep(self, stepper: "Stepper") -> None:
        if stepper.job.workspace.nbytes + stepper.job.gradient.nbytes <= KEPT_BYTES:
            self.stepper = stepper


def _check_idle(state: TrainingState, method: str) -> None:
    check_not_in_fit(state, method)
    if state.resumed is not None:
        raise ValueError(f"the model was resumed: call fit, which goes on with its run, before {method}")


class Stepper:
    """Steps by an optimizer, which becomes the state's, on mini-batches of one size."""

    def __init__(
        self,
        problem: Problem,
        state: TrainingState,
        net: NDArray[np.int64],
        examples: Examples,
        optimizer: Optimizer,
        n_threads: int | None,
    ) -> None:
        rows, self.flops, self.seed = len(examples), problem.flops(len(examples)), problem.seed
        shards = int(workspace.shards_of(net, rows))
        workers = workers_for(self.flops, shards, math.inf) if n_threads is None else threads_here()
        state.adopt(optimizer)
        self.state, self.optimizer, self.schedule, self.threads = (
            state, optimizer, as_schedule(optimizer.learning_rate), (n_threads, stated_limit()),
        )  # fmt: skip
        self.job = learning_job(problem, state, net, examples, rows, workers)
        adaptive = n_threads is None
        self.autotune = autotune_of(
            problem.network, problem.dtype.itemsize, rows, workers, adaptive=adaptive, single=True
        )
        self.team = ParkedTeam(self.job.slots, self.job, workers, self.flops) if workers > 1 else None
        self._workers, self._steps, self._seconds = self.autotune.workers(), 0, 0.0
        self._settings, self._first, self._progress = np.empty((0, 0)), 0, START

    def can_run(
        self, problem: Problem, net: NDArray[np.int64], rows: int, optimizer: Optimizer, n_threads: int | None
    ) -> bool:
        """Whether this stepper can run the next step."""
        return (
            net is self.job.net
            and rows == self.job.batch
            and problem.seed == self.seed
            and self.state.optimizer is self.optimizer
            and optimizer == self.optimizer
            and self.state.moments is self.job.moments
            and (n_threads, stated_limit()) == self.threads
        )

    def step(self, examples: Examples) -> float:
        """One step; returns the cost before it. The state counts it, however it ends."""
        job = self.job
        job.exchange(examples)
        job.prepare(0, 1, None, self._workers, self.state.epochs, self._settings_of_next())
        start = time.perf_counter()
        self._run_and_count(self._run)
        self._measure(time.perf_counter() - start)
        return self._cost()

    def apply(self, problem: Problem, placeholder: Examples, gradient: Array, cost: float | None) -> None:
        """One step by this gradient; `placeholder` is not read. The state counts it, however it ends."""
        job = self.job
        job.exchange(placeholder)
        job.prepare(0, 1, None, 1, self.state.epochs, self._settings_of_next())
        job.gradient[:] = gradient
        job.gradient[problem.frozen()] = 0
        job.costs[:] = np.nan if cost is None else cost
        self._run_and_count(lambda: apply_kernel(job.theta.itemsize).ctypes(address(job.slots)))

    def _run(self) -> None:
        job, workers = self.job, self._workers
        if self.team is not None and workers > 1 and self.flops <= SHORT_SECONDS * SLOWEST:
            self.team.run()
        else:
            run_once(job.slots, job, workers, job.theta.itemsize, self.flops)

    def _run_and_count(self, run: Callable[[], None]) -> None:
        """Run the step that the job is prepared for, and count it."""
        job, before = self.job, (self.state.updates, self.state.epochs, self.state.schedule)
        try:
            run()
        finally:
            try:
                self._count(*before)
            finally:  # a Ctrl-C inside the first count must not lose it
                self._count(*before)
                job.forget_examples()
        if job.diverged:
            assert job.settings is not None
            raise divergence(job, f"step {before[0] + 1}", float(job.settings[0, 0]))

    def _count(self, updates: int, epochs: int, progress: Progress) -> None:
        """Write to the state whether a step was made after these counts; idempotent."""
        done, state = self.job.done, self.state
        state.updates, state.epochs = updates + done, epochs + done
        if self.schedule.each_epoch and done and not self.job.diverged:
            state.schedule = self.schedule.after_epoch(progress, self._cost())

    def _cost(self) -> float:
        """The step's cost, weighted like an epoch's in `History`."""
        cost, total = float(self.job.costs[0]), float(self.job.totals[0])
        return average(cost * total, total) if self.job.net[slots.Net.mean] else cost

    def _measure(self, seconds: float) -> None:
        """Count a step's time; `autotune` treats many steps as one slice of fit."""
        self._steps, self._seconds = self._steps + 1, self._seconds + seconds
        if self._seconds >= self.autotune.slice_seconds:
            self.autotune.note(self._workers, self._seconds / self._steps, self._seconds)
            self._steps, self._seconds, self._workers = 0, 0.0, self.autotune.workers()

    def _settings_of_next(self) -> Array:
        """The numbers that the optimizer's rule reads in the next step."""
        index = self.state.updates - self._first
        if self._progress is not self.state.schedule or not 0 <= index < len(self._settings):
            ahead, index = 1 if self.schedule.each_epoch else AHEAD, 0
            self._first, self._progress = self.state.updates, self.state.schedule
            self._settings = ScheduledOptimizer(self.optimizer, self._progress).settings(self._first, ahead)
        return self._settings[index : index + 1]
