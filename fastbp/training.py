"""The Python side of fit: slices of about 100 ms, shuffling, history, validation, progress, and what went wrong."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from fastbp.core import table as slots
from fastbp.job import Job
from fastbp.team import Team

SLICE_SECONDS = 0.1
FIRST_FLOPS_PER_SECOND = 2e9  # low guesses of the speed, until the first slice is measured
FIRST_STEP = 5e-6  # seconds that a step takes at least
FIRST_TEAM_STEP = 200e-6  # and that of a team on busy cores
SECOND_SLICE_SECONDS = 0.02
TRIAL_SECONDS = 0.005  # of a slice that tries the number of workers that may be slower
FIRST_TRIAL = 2  # slices before it
EARLY_TRIALS = (FIRST_TRIAL, 8, 16)
RETRY_SLICES = 32  # between later ones
ORDER_BYTES = 1 << 22  # for the shuffled row numbers of the epochs in one slice
EPOCHS_A_SLICE = 1000  # shuffled and recorded in Python, while Ctrl-C waits

Floats = NDArray[np.float64]


def empty() -> Floats:
    return np.empty(0)


@dataclass(frozen=True)
class History:
    """What happened in one call of fit, one element per completed epoch.

    cost: over the epoch's examples, each at the parameters of its step and, with dropout, of the network with the
    units dropped that were dropped for it; validation_cost: after the epoch (empty
    without validation data); seconds: of training, without validation.
    """

    cost: Floats = field(default_factory=empty)
    validation_cost: Floats = field(default_factory=empty)
    seconds: Floats = field(default_factory=empty)

    def __len__(self) -> int:
        return len(self.cost)


@dataclass
class Plan:
    """How fit is to go: epochs, order and what to do after each."""

    epochs: int
    mean: bool
    seed: int | None  # of the shuffling; None: rows in their own order
    epochs_before: int  # of earlier calls, so that each epoch of a model has its own order and dropped units
    updates_before: int
    learning_rate: float
    flops: float  # of one mini-batch
    validate: Callable[[NDArray[np.int64]], float] | None = None  # gives up when the job is to stop
    progress: bool = False


def shuffled(rows: int, seed: int, first: int, epochs: int = 1) -> NDArray[np.int64]:
    """The order of the rows in each epoch from `first` on, one after the other: of the seed and the epoch alone."""
    order = np.arange(epochs * rows).reshape(epochs, rows)
    order -= order[:, :1].copy()
    for epoch, numbers in enumerate(order, first):
        np.random.default_rng((seed, epoch)).shuffle(numbers)
    return order.reshape(-1)


class Pace:
    """How many workers the next slice has: the team or one alone, whichever was faster per step when last tried.

    On a busy machine a team waits for its slowest worker, and one alone is faster; results are the same bits. The
    team begins; its first slice finds cold caches, its second counts, then one alone has a short try. Whichever
    loses is tried again, soon at first.
    """

    def __init__(self, workers: int, adaptive: bool) -> None:
        self.choices = [workers, 1] if adaptive and workers > 1 else [workers]
        self._seconds = dict.fromkeys(self.choices, 0.0)  # for a step
        self._slices = 0

    def workers(self) -> int:
        team, alone = self.choices[0], self.choices[-1]
        if self._slices <= FIRST_TRIAL:
            return alone if self._slices == FIRST_TRIAL else team
        faster, slower = sorted((team, alone), key=lambda workers: self._seconds[workers])
        return slower if self._trial else faster

    def note(self, workers: int, seconds_a_step: float) -> None:
        """What the slice took; how long the next one should be is then `slice_seconds`."""
        self._seconds[workers] = seconds_a_step
        self._slices += 1

    @property
    def slice_seconds(self) -> float:
        if len(self.choices) == 1:
            return SLICE_SECONDS
        if self._slices < FIRST_TRIAL:
            return SECOND_SLICE_SECONDS
        return TRIAL_SECONDS if self._trial else SLICE_SECONDS

    @property
    def _trial(self) -> bool:
        """Whether the next slice tries the number of workers that may be slower."""
        return self._slices in EARLY_TRIALS or self._slices % RETRY_SLICES == 0


class Run:
    """One call of fit under way: which mini-batch is next, and the costs of those that are done."""

    def __init__(self, job: Job, plan: Plan, pace: Pace) -> None:
        self.job, self.plan, self.pace = job, plan, pace
        self.steps_done = 0
        self.cost: list[float] = []
        self.validation_cost: list[float] = []
        self.seconds: list[float] = []
        self._open: list[Floats] = []  # of the epoch under way: each mini-batch's cost (times weight) and weight
        self._open_seconds = 0.0
        self._order: tuple[int, int, NDArray[np.int64]] | None = None
        meetings = FIRST_STEP if max(pace.choices) == 1 else FIRST_TEAM_STEP
        self._steps_a_slice = max(1, int(0.2 * SLICE_SECONDS / (plan.flops / FIRST_FLOPS_PER_SECOND + meetings)))

    def go(self) -> None:
        """Train to the end, or until Ctrl-C or a cost that is not finite; what is done is kept either way."""
        size = self.job.theta.itemsize
        with self._bar() as bar, Team(max(self.pace.choices), size) as team:
            while self.steps_done < self.plan.epochs * self.job.per_epoch:
                before = len(self.cost)
                self._slice(team)
                if any(outcome == slots.STOPPED for outcome in self.job.outcomes) or self.job.slots[slots.JOB_STOP]:
                    break
                if bar is not None and len(self.cost) > before:
                    bar.set_postfix(self._postfix(), refresh=False)
                    bar.update(len(self.cost) - before)

    def _bar(self) -> Any:
        if not self.plan.progress:
            return nullcontext()  # a bar of tqdm's, even a disabled one, starts a thread
        return tqdm(total=self.plan.epochs, unit="epoch", dynamic_ncols=True)

    def _postfix(self) -> dict[str, str]:
        costs = {"cost": self.cost, "validation": self.validation_cost}
        return {name: f"{values[-1]:.4g}" for name, values in costs.items() if values}

    def _slice(self, team: Team) -> None:
        """One run of the team: some mini-batches of an epoch, or some whole epochs."""
        job, plan = self.job, self.plan
        epoch, first = divmod(self.steps_done, job.per_epoch)
        epochs = 1
        if first == 0 and plan.validate is None:
            most = max(1, min(EPOCHS_A_SLICE, ORDER_BYTES // (8 * len(job.examples))))
            epochs = max(1, min(self._steps_a_slice // job.per_epoch, most, plan.epochs - epoch))
        steps = min(max(self._steps_a_slice, epochs), epochs * job.per_epoch - first)
        if epochs > 1:
            steps = epochs * job.per_epoch
        workers = self.pace.workers()
        job.prepare(
            first, steps, self._order_of(epoch, epochs), plan.updates_before + self.steps_done, workers,
            plan.epochs_before + epoch,
        )  # fmt: skip
        start = time.perf_counter()
        try:
            team.run(job.slots, job)
        finally:  # steps that are done count, whatever ended the run
            elapsed = time.perf_counter() - start
            self.pace.note(workers, elapsed / max(job.done, 1))
            self._steps_a_slice = max(1, int(max(job.done, 1) * self.pace.slice_seconds / max(elapsed, 1e-6)))
            self._record(first, elapsed)
        if slots.DIVERGED in job.outcomes:
            raise self._divergence()

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
        job = self.job
        done = job.done
        self.steps_done += done  # first: whatever interrupts the rest, the model counts what it has learned
        share = elapsed / max(done, 1)
        begin = 0
        while begin < done:
            end = min(done, begin + job.per_epoch - (first + begin) % job.per_epoch)
            costs, totals = job.costs[begin:end], job.totals[begin:end]
            self._open.append(np.array([costs * totals if self.plan.mean else costs, totals]))
            self._open_seconds += share * (end - begin)
            if (first + end) % job.per_epoch == 0:
                self._close_epoch()
            begin = end

    def _close_epoch(self) -> None:
        # all mini-batches at once: how the slices were cut, which is a matter of time, must not change a bit
        cost, total = np.concatenate(self._open, axis=1).sum(axis=1)
        self.cost.append(float(cost / total) if self.plan.mean else float(cost))
        self.seconds.append(self._open_seconds)
        if self.plan.validate is not None:
            self.validation_cost.append(self.plan.validate(self.job.slots))
        self._open, self._open_seconds = [], 0.0

    def _divergence(self) -> FloatingPointError:
        in_update = self.job.outcomes[2] == slots.DIVERGED
        epoch, step = divmod(self.steps_done - in_update, self.job.per_epoch)
        what = "a parameter would overflow" if in_update else "the cost or its gradient became NaN or infinite"
        return FloatingPointError(
            f"training diverged: {what} in epoch {epoch + 1}, step {step + 1} "
            f"(learning rate {self.plan.learning_rate:g}); the last finite parameters are kept. "
            "A smaller learning rate or scaled inputs usually help"
        )

    def history(self) -> History:
        return History(np.array(self.cost), np.array(self.validation_cost), np.array(self.seconds))
