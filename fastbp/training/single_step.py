"""One mini-batch at a time: what `fit` makes anew in each call is kept from one step to the next."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.core import slots, workspace
from fastbp.core.step.train import apply as applying
from fastbp.engine.job import Array, Examples
from fastbp.engine.network_table import address
from fastbp.engine.parked_team import Standing
from fastbp.engine.team import SHORT_SECONDS, SLOWEST, run_once, workers_for
from fastbp.engine.thread_limit import limited, stated_limit, threads_here
from fastbp.inputs.checks import as_vector, number_in
from fastbp.optimizers import Course, Optimizer, as_optimizer
from fastbp.schedules import MOST, START, Progress, as_schedule
from fastbp.training.autotune import pace_of
from fastbp.training.prepare import check_not_in_fit, learning_job, learning_net, state_for
from fastbp.training.run import average, divergence

if TYPE_CHECKING:
    from fastbp.model import Model

KEPT_BYTES = 1 << 26
"""Memory of a step that is kept for the next: of more, making it anew counts little."""

AHEAD = 64
"""Steps whose settings are taken at once: those of one take longer than a small network's step."""


def step(
    model: "Model", X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, optimizer: Any, n_threads: Any
) -> float:
    """See `Model.step`."""
    _check_idle(model, "step")
    new = model.optimizer if optimizer is None else as_optimizer(optimizer)

    def learn() -> tuple[Stepper, float]:
        learned = model._smoothed(model._examples(X, y, sample_weight, whole=True))
        stepper = _taken(model, learned, new, n_threads)
        return stepper, stepper.learn(model, learned)

    stepper, cost = limited(n_threads, learn)
    _kept(model, stepper)
    return cost


def apply_gradient(model: "Model", gradient: ArrayLike, cost: Any, optimizer: Any) -> None:
    """See `Model.apply_gradient`."""
    _check_idle(model, "apply_gradient")
    new = model.optimizer if optimizer is None else as_optimizer(optimizer)
    given = as_vector(gradient, model._theta.size, model.dtype, "gradient")
    if cost is not None:
        cost = number_in("cost", cost, -MOST, MOST)
    elif as_schedule(new.learning_rate).each_epoch:
        raise ValueError("cost must be given with the gradient: the schedule OnPlateau looks at it, got None")
    one = model._one_example()
    stepper = _taken(model, one, new, 1)
    stepper.apply(model, one, given, cost)
    _kept(model, stepper)


def _check_idle(model: "Model", method: str) -> None:
    check_not_in_fit(model, method)
    if model._interrupted is not None:
        raise ValueError(f"the model was resumed: call fit, which goes on with its run, before {method}")


def _taken(model: "Model", learned: Examples, optimizer: Optimizer, threads: int | None) -> "Stepper":
    """The stepper that the model keeps, if it serves, or another one; it is the model's again when it is `_kept`."""
    net = learning_net(model, learned, len(learned))
    stepper, model._stepper = model._stepper, None  # whatever goes wrong, nothing half done is used again
    if stepper is None or not stepper.serves(model, net, len(learned), optimizer, threads):
        stepper = Stepper(model, net, learned, optimizer, threads)
    return stepper


def _kept(model: "Model", stepper: "Stepper") -> None:
    if stepper.job.workspace.nbytes + stepper.job.gradient.nbytes <= KEPT_BYTES:
        model._stepper = stepper


class Stepper:
    """Steps of a model by an optimizer, which becomes the model's, on mini-batches of one size."""

    def __init__(
        self, model: "Model", net: NDArray[np.int64], learned: Examples, optimizer: Optimizer, n_threads: int | None
    ) -> None:
        rows, self.flops, self.seed = len(learned), model._flops(len(learned)), model.seed
        shards = int(workspace.shards_of(net, rows))
        workers = workers_for(self.flops, shards, math.inf) if n_threads is None else threads_here()
        state_for(model, optimizer)
        self.optimizer, self.schedule, self.threads = (
            optimizer, as_schedule(optimizer.learning_rate), (n_threads, stated_limit()),
        )  # fmt: skip
        self.job = learning_job(model, net, learned, rows, workers)
        self.pace = pace_of(model.network, model.dtype.itemsize, rows, workers, adaptive=n_threads is None, single=True)
        self.team = Standing(self.job.slots, self.job, workers, self.flops) if workers > 1 else None
        self._workers, self._steps, self._seconds = self.pace.workers(), 0, 0.0
        self._settings, self._first, self._progress = np.empty((0, 0)), 0, START

    def serves(
        self, model: "Model", net: NDArray[np.int64], rows: int, optimizer: Optimizer, n_threads: int | None
    ) -> bool:
        """Whether the model's next step may be one of these."""
        return (
            net is self.job.net
            and rows == self.job.batch
            and model.seed == self.seed
            and model.optimizer is self.optimizer
            and optimizer == self.optimizer
            and model._moments is self.job.moments
            and (n_threads, stated_limit()) == self.threads
        )

    def learn(self, model: "Model", learned: Examples) -> float:
        """One step; returns the cost before it. The model counts it, however it ends."""
        job = self.job
        job.exchange(learned)
        job.prepare(0, 1, None, self._workers, model._epochs, self._settings_of_next(model))
        start = time.perf_counter()
        self._make(model, self._run)
        self._pace(time.perf_counter() - start)
        return self._cost()

    def apply(self, model: "Model", one: Examples, gradient: Array, cost: float | None) -> None:
        """One step by this gradient, whose examples nobody reads. The model counts it, however it ends."""
        job = self.job
        job.exchange(one)
        job.prepare(0, 1, None, 1, model._epochs, self._settings_of_next(model))
        job.gradient[:] = gradient
        job.costs[:] = np.nan if cost is None else cost
        self._make(model, lambda: applying(job.theta.itemsize).ctypes(address(job.slots)))

    def _run(self) -> None:
        job, workers = self.job, self._workers
        if self.team is not None and workers > 1 and self.flops <= SHORT_SECONDS * SLOWEST:
            self.team.run()
        else:
            run_once(job.slots, job, workers, job.theta.itemsize, self.flops)

    def _make(self, model: "Model", run: Callable[[], None]) -> None:
        """Make the step that the job is prepared for, and count it."""
        job, before = self.job, (model._updates, model._epochs, model._progress)
        try:
            run()
        finally:
            try:
                self._count(model, *before)
            finally:  # Ctrl-C comes once
                self._count(model, *before)
                job.forget_examples()
        if job.diverged:
            assert job.settings is not None
            raise divergence(job, f"step {before[0] + 1}", float(job.settings[0, 0]))

    def _count(self, model: "Model", updates: int, epochs: int, progress: Progress) -> None:
        """Let the model know whether it has made a step more than before; once more does no harm."""
        done = self.job.done
        model._updates, model._epochs = updates + done, epochs + done
        if self.schedule.each_epoch and done and not self.job.diverged:
            model._progress = self.schedule.after_epoch(progress, self._cost())

    def _cost(self) -> float:
        """As that of an epoch in a `History`."""
        cost, total = float(self.job.costs[0]), float(self.job.totals[0])
        return average(cost * total, total) if self.job.net[slots.NET_MEAN] else cost

    def _pace(self, seconds: float) -> None:
        """A step took so long; from some together the pace learns, as from a slice of fit."""
        self._steps, self._seconds = self._steps + 1, self._seconds + seconds
        if self._seconds >= self.pace.slice_seconds:
            self.pace.note(self._workers, self._seconds / self._steps, self._seconds)
            self._steps, self._seconds, self._workers = 0, 0.0, self.pace.workers()

    def _settings_of_next(self, model: "Model") -> Array:
        """What the optimizer's rule reads in the model's next step."""
        at = model._updates - self._first
        if self._progress is not model._progress or not 0 <= at < len(self._settings):
            ahead, at = 1 if self.schedule.each_epoch else AHEAD, 0
            self._first, self._progress = model._updates, model._progress
            self._settings = Course(self.optimizer, self._progress).settings(self._first, ahead)
        return self._settings[at : at + 1]
