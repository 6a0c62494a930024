"""Run: a call of fit in slices of about 100 ms, with shuffling, callbacks, checkpoints and divergence."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.callbacks import Callback, State
from fastbp.core import slots
from fastbp.engine.job import Job
from fastbp.engine.problem import Problem
from fastbp.engine.state import TrainingState
from fastbp.engine.team import Team
from fastbp.history import History
from fastbp.optimizers import ScheduledOptimizer
from fastbp.training.autotune import Autotune
from fastbp.training.checkpoint import Checkpoint
from fastbp.training.progress_bar import ProgressBar
from fastbp.training.record import Record

ORDER_BYTES = 1 << 22  # of the shuffled row numbers of the epochs in one slice
EPOCHS_A_SLICE = 1000  # shuffled and recorded in Python while Ctrl-C waits


@dataclass
class Plan:
    """What a run does: epochs, order of the rows, and what follows each epoch."""

    problem: Problem
    state: TrainingState
    model: Any  # that callbacks see
    epochs: int
    seed: int | None  # of the shuffling; None: rows in their own order
    epochs_before: int  # of earlier calls, so that each epoch of a model has its own order and dropped units
    updates_before: int
    schedule_state: ScheduledOptimizer
    flops: float  # of one mini-batch
    score: Callable[[NDArray[np.int64]], dict[str, float]] | None = None  # validation cost and metrics
    metrics: tuple[str, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    progress: bool = False
    checkpoint: Checkpoint | None = None

    @property
    def each_epoch(self) -> bool:
        """Whether something follows each epoch; if not, a slice may hold many."""
        silent = Callback.after_epoch
        if self.score is not None or self.schedule_state.schedule.each_epoch:
            return True
        return any(type(callback).after_epoch is not silent for callback in self.callbacks)


def shuffled(rows: int, seed: int, first: int, epochs: int = 1) -> NDArray[np.int64]:
    """The order of the rows in each epoch from `first` on, concatenated; a function of the seed and the epoch alone."""
    order = np.arange(epochs * rows).reshape(epochs, rows)
    order -= order[:, :1].copy()
    for epoch, numbers in enumerate(order, first):
        np.random.default_rng((seed, epoch)).shuffle(numbers)
    return order.reshape(-1)


def divergence(job: Job, where: str, rate: float) -> FloatingPointError:
    """The error for a job whose last step, at `where` and with this learning rate, has diverged."""
    if (unknown := np.flatnonzero(~np.isfinite(job.theta))).size:  # training makes none
        return FloatingPointError(
            f"parameters must be finite to be trained, got {job.theta[unknown[0]]} at index {unknown[0]} in {where}"
        )
    what = (
        "a parameter or the optimizer's state would become NaN or infinite"
        if job.diverged_in_update
        else "the cost or its gradient became NaN or infinite"
    )
    return FloatingPointError(
        f"training diverged: {what} in {where} (learning rate {rate:g}); the last finite parameters are kept. "
        "A smaller learning rate or scaled inputs usually help"
    )


class Run:
    """One call of fit: the next mini-batch, and the record of those that are done.

    A new run of the same arguments and the model as it was continues from a `state_dict` taken between two slices; its
    results are bit-identical.
    """

    def __init__(self, job: Job, plan: Plan, autotune: Autotune) -> None:
        self.job, self.plan, self.autotune = job, plan, autotune
        self.stopped = False  # by a callback
        self.ended = False
        self.record = Record(plan.problem.mean, plan.metrics)
        self._order: tuple[int, int, NDArray[np.int64]] | None = None

    def go(self) -> None:
        """Train to the end, or until Ctrl-C or a cost that is not finite; completed steps count either way."""
        size, steps, checkpoint = self.job.theta.itemsize, self.plan.epochs * self.job.per_epoch, self.plan.checkpoint
        if self.ended:
            return
        if checkpoint is not None:
            checkpoint.write(self.plan.problem, self.plan.state, self.state_dict())
        team = Team(size)
        with self._progress() as progress:
            while self.steps_done < steps and not self.stopped:
                epochs = self.epochs_done
                self._slice(team)
                complete = self.epochs_done > epochs
                if complete:
                    self._after_epochs()
                if self._interrupted:
                    return
                if progress is not None:
                    progress.show(self.steps_done / self.job.per_epoch, self.state())
                self._call_callbacks(complete)
                if complete and checkpoint is not None and checkpoint.is_due(self.epochs_done):
                    checkpoint.update(self.plan.problem, self.plan.state, self.state_dict())
        if self._interrupted:
            return
        for callback in self.plan.callbacks:
            callback.after_fit(self.state())
        self.ended = True
        if checkpoint is not None:
            checkpoint.write(self.plan.problem, self.plan.state, self.state_dict())

    def _after_epochs(self) -> None:
        """Take validation cost and metrics, and update the learning rate's schedule."""
        if self.plan.score is not None:
            if self._interrupted:
                return
            self.record.add(self.plan.score(self.job.slots))
        last = self.record.last()
        self.plan.schedule_state.after_epoch(last.get("validation_cost", last["cost"]))
        self.count()

    @property
    def steps_done(self) -> int:
        """Mini-batches of this call that the model has learned from."""
        return self.job.done_in_all

    @property
    def epochs_done(self) -> int:
        """Complete epochs of this call."""
        return self.record.epochs

    @property
    def _interrupted(self) -> bool:
        return slots.STOPPED in self.job.outcomes or bool(self.job.slots[slots.Job.stop])

    def _progress(self) -> AbstractContextManager[ProgressBar | None]:
        return ProgressBar(self.plan.epochs) if self.plan.progress else nullcontext()

    def _call_callbacks(self, complete: bool) -> None:
        """Call all callbacks; True from any of them stops the training."""
        if not self.plan.callbacks:
            return
        state = self.state()
        calls = [callback.after_epoch for callback in self.plan.callbacks] if complete else []
        calls += [callback.after_slice for callback in self.plan.callbacks]
        for call in calls:
            answer = call(state)
            self.stopped |= isinstance(answer, (bool, np.bool_)) and bool(answer)

    def _slice(self, team: Team) -> None:
        """One run of the team: mini-batches of one epoch, or several whole epochs."""
        job, plan = self.job, self.plan
        epoch, first = divmod(self.steps_done, job.per_epoch)
        workers, worthwhile = self.autotune.workers(), self.autotune.steps(plan.flops)
        epochs = 1
        if first == 0 and not plan.each_epoch and job.buffer is None:
            most = EPOCHS_A_SLICE
            if plan.seed is not None:
                most = max(1, min(most, ORDER_BYTES // (8 * len(job.examples))))
            if plan.checkpoint is not None:
                most = min(most, plan.checkpoint.epochs_left(epoch))
            epochs = max(1, min(worthwhile // job.per_epoch, most, plan.epochs - epoch))
        steps = min(max(worthwhile, epochs), epochs * job.per_epoch - first)
        steps = min(steps, job.most_steps)
        if epochs > 1:
            steps = epochs * job.per_epoch
        updates = plan.updates_before + self.steps_done
        job.prepare(
            first, steps, self._order_of(epoch, epochs), workers, plan.epochs_before + epoch,
            plan.schedule_state.settings(updates, steps),
        )  # fmt: skip
        start = time.perf_counter()
        job.gather()
        try:
            team.run(job.slots, job, seconds=steps * self.autotune.step_seconds)
        finally:  # completed steps count, whatever ended the run
            self.count()
        elapsed = max(time.perf_counter() - start, 1e-6)
        self.autotune.note(workers, elapsed / max(job.done, 1), elapsed)
        self.record.add_slice(job, first, elapsed)
        if job.diverged:
            raise self._divergence()

    def count(self) -> None:
        """Write the steps that the model has learned from to its state; idempotent."""
        state, plan = self.plan.state, self.plan
        state.updates = plan.updates_before + self.steps_done
        state.schedule = plan.schedule_state.progress
        state.epochs = plan.epochs_before + self.steps_done // self.job.per_epoch

    def _order_of(self, epoch: int, epochs: int) -> NDArray[np.int64] | None:
        seed = self.plan.seed
        if seed is None:
            return None
        if self._order is None or self._order[:2] != (epoch, epochs):
            self._order = self.job.order = None  # not two at a time: 8 bytes a row, of which there may be millions
            rows = len(self.job.examples)
            self._order = (epoch, epochs, shuffled(rows, seed, self.plan.epochs_before + epoch, epochs))
        return self._order[2]

    def _divergence(self) -> FloatingPointError:
        last = self.steps_done - self.job.diverged_in_update
        epoch, step = divmod(last, self.job.per_epoch)
        rate = self.plan.schedule_state.rate(self.plan.updates_before + last)
        return divergence(self.job, f"epoch {epoch + 1}, step {step + 1}", rate)

    def state(self) -> State:
        """What callbacks receive."""
        last = self.record.last()
        rate = last.get("learning_rate", np.nan)  # the schedule may have changed after the epoch
        if self.steps_done % self.job.per_epoch or not last:
            rate = self.plan.schedule_state.rate(self.plan.updates_before + max(self.steps_done - 1, 0))
        return State(
            epoch=self.plan.epochs_before + self.epochs_done,
            steps=self.steps_done,
            cost=self.record.cost() if self.steps_done % self.job.per_epoch else last.get("cost", np.nan),
            validation_cost=last.get("validation_cost"),
            metrics=MappingProxyType({name: last[name] for name in self.plan.metrics if name in last}),
            learning_rate=rate,
            seconds=self.record.seconds,
            model=self.plan.model,
        )

    def history(self) -> History:
        """The epochs that are complete."""
        return self.record.history(self.plan.epochs_before, len(self.job.examples))

    def state_dict(self) -> dict[str, Any]:
        """Plain data and arrays, from which `load_state` of an equal run continues."""
        return {
            "epochs_before": self.plan.epochs_before,
            "updates_before": self.plan.updates_before,
            "steps_done": self.steps_done,
            "stopped": self.stopped,
            "ended": self.ended,
            **self.record.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.plan.callbacks],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned, with the model as it was then. ValueError if it is not."""
        epochs, updates = state["steps_done"] // self.job.per_epoch, state["updates_before"] + state["steps_done"]
        lengths = {name: len(values) for name, values in state["columns"].items()}
        if not lengths["validation_cost"]:
            lengths["validation_cost"] = epochs
        if epochs > self.plan.epochs or set(lengths.values()) != {epochs}:
            raise ValueError(f"after {state['steps_done']} steps there must be {epochs} epochs, got {lengths}")
        if updates != self.plan.state.updates:
            raise ValueError(f"the model must have made {updates} updates, got {self.plan.state.updates}")
        self.plan.epochs_before, self.plan.updates_before = state["epochs_before"], state["updates_before"]
        self.job.done_in_all, self.stopped, self.ended = state["steps_done"], state["stopped"], state["ended"]
        self.record.load_state(state)
        left_out = len(state["callbacks"]) - len(self.plan.callbacks)
        for callback, its in zip(self.plan.callbacks, state["callbacks"][left_out:], strict=True):
            callback.load_state(its)
