"""The Python side of fit: slices of about 100 ms, shuffling, what is recorded, who is told, and what went wrong."""

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
from fastbp.history import COLUMNS, History
from fastbp.optimizers import Course
from fastbp.training.autotune import Pace
from fastbp.training.checkpoint import Checkpoint
from fastbp.training.progress_bar import Progress

ORDER_BYTES = 1 << 22  # for the shuffled row numbers of the epochs in one slice
EPOCHS_A_SLICE = 1000  # shuffled and recorded in Python, while Ctrl-C waits


@dataclass
class Plan:
    """How fit is to go: epochs, order and what to do after each."""

    problem: Problem
    state: TrainingState
    model: Any  # that callbacks see
    epochs: int
    seed: int | None  # of the shuffling; None: rows in their own order
    epochs_before: int  # of earlier calls, so that each epoch of a model has its own order and dropped units
    updates_before: int
    course: Course
    flops: float  # of one mini-batch
    score: Callable[[NDArray[np.int64]], dict[str, float]] | None = None  # after an epoch; gives up as the job does
    metrics: tuple[str, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    progress: bool = False
    checkpoint: Checkpoint | None = None

    @property
    def each_epoch(self) -> bool:
        """Whether there is something to do after each epoch; if not, a slice may hold many."""
        silent = Callback.after_epoch
        if self.score is not None or self.course.schedule.each_epoch:
            return True
        return any(type(callback).after_epoch is not silent for callback in self.callbacks)


def shuffled(rows: int, seed: int, first: int, epochs: int = 1) -> NDArray[np.int64]:
    """The order of the rows in each epoch from `first` on, one after the other: of the seed and the epoch alone."""
    order = np.arange(epochs * rows).reshape(epochs, rows)
    order -= order[:, :1].copy()
    for epoch, numbers in enumerate(order, first):
        np.random.default_rng((seed, epoch)).shuffle(numbers)
    return order.reshape(-1)


def average(cost: float, total: float) -> float:
    """The cost of examples from the sums of their costs (times weight) and weights."""
    return cost / total if total else np.nan


def divergence(job: Job, where: str, rate: float) -> FloatingPointError:
    """What is raised when the job's last step, which is there and had this learning rate, has diverged."""
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
    """One call of fit under way: which mini-batch is next, and what is recorded of those that are done.

    A run that is made anew from the same arguments, with the model as it was then, goes on from a `state_dict` taken
    between two slices, to the same bits.
    """

    def __init__(self, job: Job, plan: Plan, pace: Pace) -> None:
        self.job, self.plan, self.pace = job, plan, pace
        self.stopped = False  # by a callback
        self.ended = False
        self.columns: dict[str, list[float]] = {name: [] for name in (*COLUMNS, *plan.metrics)}
        self.seconds = 0.0  # of training
        self._sums = np.zeros(2)  # over the epoch under way: cost (times weight) and weight
        self._epoch_seconds = 0.0
        self._order: tuple[int, int, NDArray[np.int64]] | None = None

    def go(self) -> None:
        """Train to the end, or until Ctrl-C or a cost that is not finite; what is done is kept either way."""
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
                self._tell(complete)
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
        """Take validation cost and metrics, and let the learning rate's schedule know."""
        if self.plan.score is not None:
            if self._interrupted:
                return
            self._add(self.plan.score(self.job.slots))
        costs = self.columns["validation_cost"] or self.columns["cost"]
        self.plan.course.after_epoch(costs[-1])
        self.count()

    @property
    def steps_done(self) -> int:
        """Mini-batches of this call that the model has learned from."""
        return self.job.done_in_all

    @property
    def epochs_done(self) -> int:
        """Complete epochs of this call."""
        return len(self.columns["cost"])

    @property
    def _interrupted(self) -> bool:
        return slots.STOPPED in self.job.outcomes or bool(self.job.slots[slots.JOB_STOP])

    def _progress(self) -> AbstractContextManager[Progress | None]:
        return Progress(self.plan.epochs) if self.plan.progress else nullcontext()

    def _tell(self, complete: bool) -> None:
        """Call the callbacks; any one's True stops the training, after all have been called."""
        if not self.plan.callbacks:
            return
        state = self.state()
        calls = [callback.after_epoch for callback in self.plan.callbacks] if complete else []
        calls += [callback.after_slice for callback in self.plan.callbacks]
        for call in calls:
            answer = call(state)
            self.stopped |= isinstance(answer, (bool, np.bool_)) and bool(answer)

    def _slice(self, team: Team) -> None:
        """One run of the team: some mini-batches of an epoch, or some whole epochs."""
        job, plan = self.job, self.plan
        epoch, first = divmod(self.steps_done, job.per_epoch)
        workers, worthwhile = self.pace.workers(), self.pace.steps(plan.flops)
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
            plan.course.settings(updates, steps),
        )  # fmt: skip
        start = time.perf_counter()
        job.gather()
        try:
            team.run(job.slots, job, seconds=steps * self.pace.step_seconds)
        finally:  # steps that are done count, whatever ended the run
            self.count()
        elapsed = max(time.perf_counter() - start, 1e-6)
        self.pace.note(workers, elapsed / max(job.done, 1), elapsed)
        self._record(first, elapsed)
        if job.diverged:
            raise self._divergence()

    def count(self) -> None:
        """Write the steps that the model has learned from to its state; idempotent."""
        state, plan = self.plan.state, self.plan
        state.updates = plan.updates_before + self.steps_done
        state.schedule = plan.course.progress
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

    def _record(self, first: int, elapsed: float) -> None:
        """Add the slice's mini-batches to their epochs, and close the epochs that are complete."""
        job, done, per_epoch = self.job, self.job.done, self.job.per_epoch
        share = elapsed / max(done, 1)
        self.seconds += elapsed
        sums = np.array([job.costs * job.totals if self.plan.problem.mean else job.costs, job.totals])
        begin = min(done, -first % per_epoch)
        whole = (done - begin) // per_epoch
        end = begin + whole * per_epoch
        if begin:
            self._count_in(sums[:, :begin], share * begin)
            if (first + begin) % per_epoch == 0:
                self._close_epochs(self._sums[:, None], np.array([begin]), self._epoch_seconds)
                self._sums, self._epoch_seconds = np.zeros(2), 0.0
        # one after the other: how the slices were cut, which is a matter of time, must not change a bit
        epochs = np.add.accumulate(sums[:, begin:end].reshape(2, whole, per_epoch), axis=2)[:, :, -1]
        self._close_epochs(epochs, begin + per_epoch * np.arange(1, whole + 1), share * per_epoch)
        if end < done:
            self._count_in(sums[:, end:done], share * (done - end))

    def _count_in(self, sums: NDArray[np.float64], seconds: float) -> None:
        """Add mini-batches to the epoch under way."""
        self._sums = np.add.accumulate(np.column_stack([self._sums, sums]), axis=1)[:, -1]
        self._epoch_seconds += seconds

    def _close_epochs(self, sums: NDArray[np.float64], ends: NDArray[np.int64], seconds: float) -> None:
        """Epochs of these costs and weights are complete, each after so many steps of the slice, in so many seconds."""
        assert self.job.settings is not None
        self.columns["cost"] += [self._average(cost, total) for cost, total in sums.T.tolist()]
        self.columns["learning_rate"] += self.job.settings[ends - 1, 0].tolist()
        self.columns["seconds"] += [seconds] * len(ends)

    def _average(self, cost: float, total: float) -> float:
        """The cost of an epoch from its sums of costs (times weight) and weights."""
        return average(cost, total) if self.plan.problem.mean else cost

    def _cost(self) -> float:
        """Over the epoch under way."""
        return self._average(*self._sums.tolist())

    def _add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.columns[name].append(value)

    def _divergence(self) -> FloatingPointError:
        last = self.steps_done - self.job.diverged_in_update
        epoch, step = divmod(last, self.job.per_epoch)
        rate = self.plan.course.rate(self.plan.updates_before + last)
        return divergence(self.job, f"epoch {epoch + 1}, step {step + 1}", rate)

    def state(self) -> State:
        """What callbacks see."""
        last = {name: values[-1] for name, values in self.columns.items() if values}
        rate = last.get("learning_rate", np.nan)  # the schedule has heard of the epoch's cost, and may be further
        if self.steps_done % self.job.per_epoch or not last:
            rate = self.plan.course.rate(self.plan.updates_before + max(self.steps_done - 1, 0))
        return State(
            epoch=self.plan.epochs_before + self.epochs_done,
            steps=self.steps_done,
            cost=self._cost() if self.steps_done % self.job.per_epoch else last.get("cost", np.nan),
            validation_cost=last.get("validation_cost"),
            metrics=MappingProxyType({name: last[name] for name in self.plan.metrics if name in last}),
            learning_rate=rate,
            seconds=self.seconds,
            model=self.plan.model,
        )

    def history(self) -> History:
        """Of the epochs that are complete."""
        columns = {name: np.array(values) for name, values in self.columns.items()}
        metrics = {name: columns[name] for name in self.plan.metrics}
        seconds, first = columns["seconds"], self.plan.epochs_before + 1
        return History(
            columns["cost"],
            columns["validation_cost"],
            metrics,
            columns["learning_rate"],
            seconds,
            len(self.job.examples) / np.maximum(seconds, 1e-9),
            np.arange(first, first + len(seconds)),
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain data, and arrays, with which `load_state` of a like run goes on where this one is."""
        return {
            "epochs_before": self.plan.epochs_before,
            "updates_before": self.plan.updates_before,
            "steps_done": self.steps_done,
            "stopped": self.stopped,
            "ended": self.ended,
            "columns": {name: np.array(values) for name, values in self.columns.items()},
            "sums": self._sums.tolist(),
            "epoch_seconds": self._epoch_seconds,
            "seconds": self.seconds,
            "callbacks": [callback.state_dict() for callback in self.plan.callbacks],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; the model has to be as it was then. ValueError if it was not so."""
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
        self.columns = {name: values.tolist() for name, values in state["columns"].items()}
        self._sums, self._epoch_seconds = np.array(state["sums"]), state["epoch_seconds"]
        self.seconds = state["seconds"]
        left_out = len(state["callbacks"]) - len(self.plan.callbacks)
        for callback, its in zip(self.plan.callbacks, state["callbacks"][left_out:], strict=True):
            callback.load_state(its)
