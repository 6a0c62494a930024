"""A job: what a team is to compute, as the int64 table that its workers read, with the memory that it names."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import slots, workspace
from fastbp.core.slots import COMPLETE, DIVERGED, JOB_SLOTS, Net
from fastbp.core.step import clip, update_in_place
from fastbp.engine.cpu import usleep_address
from fastbp.engine.network_table import address, aligned_zeros
from fastbp.inputs import sources
from fastbp.inputs.sources import Numbers, Source, index

Array = NDArray[Any]


@dataclass(frozen=True)
class Examples:
    """Checked inputs, targets and weights, C-contiguous and of the model's dtype; the inputs may be a source."""

    X: Array | Source
    y: Array
    weights: Array | None = None

    def __len__(self) -> int:
        return len(self.X)

    @property
    def total_weight(self) -> float:
        """Σ_n w_n."""
        return float(len(self) if self.weights is None else self.weights.sum(dtype=np.float64))

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """These examples: copies of them, or a source that reads them when they are needed."""
        return Examples(self.X[rows], self.y[rows], None if self.weights is None else self.weights[rows])

    def gathered(self, numbers: Numbers, inputs: Array) -> "Examples":
        """The examples of these row numbers, in their order; overwrites `inputs`, which become theirs."""
        assert isinstance(self.X, Source)
        self.X.take(inputs, numbers)
        rows = index(numbers)
        return Examples(inputs, self.y[rows], None if self.weights is None else self.weights[rows])


NOTHING = Examples(np.empty((0, 0)), np.empty(0))


class Job:
    """The table of a job over `examples` in mini-batches, and all arrays that it points to.

    Without an update (see `Job.update_by`) it computes the gradient of each mini-batch and leaves theta as it is.
    """

    def __init__(
        self,
        net: NDArray[np.int64],
        theta: Array,
        gradient: Array,
        examples: Examples,
        batch: int,
        workers: int,
    ) -> None:
        self.net, self.theta, self.gradient, self.examples = net, theta, gradient, examples
        self.workers = workers
        batch = min(batch, len(examples))
        shards = int(workspace.shards_of(net, batch))
        self.workspace = aligned_zeros(int(workspace.training_size(net, batch, shards, workers)), theta.dtype)
        self.slots = aligned_zeros(JOB_SLOTS, np.int64)
        self.moments: Array | None = None
        self.settings: Array | None = None
        self.squares = np.empty(0)
        self.order: NDArray[np.int64] | None = None
        self.costs = self.totals = np.empty(0)
        self.buffer: Array | None = None
        if isinstance(examples.X, Source):
            inputs = examples.X.shape[1]
            steps = max(1, sources.BUFFER_BYTES // (batch * inputs * theta.itemsize))
            self.buffer = np.empty((steps * batch, inputs), theta.dtype)
        else:
            self._read(examples)
        self._set(
            net=address(net),
            theta=address(theta),
            gradient=address(gradient),
            batch=batch,
            shards=shards,
            few=int(workspace.few_of(net, batch)),
            halves=int(workspace.halves_of(net, batch, shards)),
            workers=workers,
            sleep=usleep_address(),
        )
        workspace.divide(self.slots, net, address(self.workspace))

    @property
    def per_epoch(self) -> int:
        """Mini-batches in an epoch; the last may be smaller."""
        return -(-len(self.examples) // self.batch)

    @property
    def batch(self) -> int:
        """Examples in a mini-batch; the last of an epoch may have fewer."""
        return int(self.slots[slots.Job.batch])

    @property
    def most_steps(self) -> int:
        """Mini-batches that a run can have; those of one epoch if examples have to be gathered for it."""
        return sys.maxsize if self.buffer is None else len(self.buffer) // self.batch

    @property
    def done(self) -> int:
        """Mini-batches that the last run has completed."""
        return int(self.slots[slots.Job.done] - self.slots[slots.Job.base])

    @property
    def done_in_all(self) -> int:
        """Mini-batches that all runs have completed, correct at any moment."""
        return int(self.slots[slots.Job.done])

    @done_in_all.setter
    def done_in_all(self, steps: int) -> None:
        self.slots[slots.Job.done] = self.slots[slots.Job.base] = steps

    @property
    def outcomes(self) -> tuple[int, int, int]:
        """How the last run's examples, gradient and update ended: COMPLETE, STOPPED or DIVERGED."""
        examples, gradient, update = self.slots[slots.Job.outcomes : slots.Job.outcomes + 3].tolist()
        return examples, gradient, update

    @property
    def diverged(self) -> bool:
        """Whether the last run diverged."""
        return DIVERGED in self.outcomes

    @property
    def diverged_in_update(self) -> bool:
        """Whether its last update, which counts as done, diverged: a parameter would not be finite."""
        return self.outcomes[2] == DIVERGED

    def update_by(
        self, kernel_address: int, moments: Array, clip_norm: float | None = None, *, plain: bool = False
    ) -> None:
        """Each mini-batch ends with an update of theta by this rule, whose settings `prepare` gets.

        plain: the rule is θ ← θ - η g.
        """
        self.moments = moments
        if plain and clip_norm is None and not self.net[Net.penalty] and self.slots[slots.Job.few]:
            self.slots[slots.Job.update_in_place] = update_in_place.update_in_place(self.theta.itemsize).address
        self._set(update=kernel_address, moments=address(moments))
        if clip_norm is not None:
            self.squares = aligned_zeros(int(self.net[Net.rows]), np.float64)
            size = self.theta.itemsize
            self._set(
                row_squares=address(self.squares),
                sum_squares=clip.sum_squares(size).address,
                clip=clip.clip(size).address,
            )
            self.slots.view(np.float64)[slots.Job.clip_norm] = clip_norm

    def drop_by(self, seed: int) -> None:
        """The seed of dropout, for a network table with dropout."""
        self._set(seed=seed)

    def prepare(
        self,
        first: int,
        steps: int,
        order: NDArray[np.int64] | None = None,
        workers: int | None = None,
        epoch: int = 0,
        settings: NDArray[np.float64] | None = None,
    ) -> None:
        """The next run: mini-batches first … first + steps - 1 of the epochs in `order`.

        epoch: the model's epochs before. workers: by default and at most those that the job was made for. settings:
        the update rule's numbers, a row for each mini-batch.
        """
        self.order, self.settings = order, settings
        self.costs, self.totals = np.zeros(steps), self._totals(first, steps, order)
        self._set(
            order=0 if order is None else address(order),
            workers=self.workers if workers is None else workers,
            first=first,
            steps=steps,
            epoch=epoch,
            numbers=0 if order is None else address(order),
            settings=0 if settings is None else address(settings),
            settings_row=0 if settings is None else settings.shape[1],
            costs=address(self.costs),
            totals=address(self.totals),
            base=self.done_in_all,
            arrived=0,
        )
        self.slots[slots.Job.outcomes : slots.Job.outcomes + 3] = COMPLETE

    def gather(self) -> None:
        """After `prepare`: copies the rows of a source for the run to where the workers read."""
        if self.buffer is None:
            return
        begin = int(self.slots[slots.Job.first]) * self.batch
        end = min(begin + int(self.slots[slots.Job.steps]) * self.batch, len(self.examples))
        numbers = range(begin, end) if self.order is None else self.order[begin:end]
        self._read(self.examples.gathered(numbers, self.buffer[: end - begin]))
        self._numbers = np.asarray(numbers)
        self._set(order=0, first=0, numbers=address(self._numbers))

    def exchange(self, examples: Examples) -> None:
        """The next runs are of these examples, in memory; their number is that of the examples before."""
        self.examples = examples
        self._read(examples)

    def forget_examples(self) -> None:
        """Keeps no caller's arrays alive until the next `exchange`."""
        self.examples = self._memory = NOTHING

    def _read(self, examples: Examples) -> None:
        """Workers read these, an epoch."""
        assert isinstance(examples.X, np.ndarray)
        self._memory = examples
        self._set(
            x=address(examples.X),
            y=address(examples.y),
            weights=0 if examples.weights is None else address(examples.weights),
            rows=len(examples),
        )

    def _totals(self, first: int, steps: int, order: NDArray[np.int64] | None) -> NDArray[np.float64]:
        """The sum of weights of each mini-batch."""
        rows, batch, per_epoch, weights = len(self.examples), self.batch, self.per_epoch, self.examples.weights
        if weights is None:
            totals = np.full(steps, batch, np.float64)
            totals[-(first + 1) % per_epoch :: per_epoch] = rows - (per_epoch - 1) * batch  # the last of an epoch
            return totals
        epochs, numbers = np.divmod(np.arange(first, first + steps), per_epoch)
        begins = numbers * batch + (epochs * rows if order is not None else 0)
        ends = begins + np.minimum(batch, rows - numbers * batch)
        picked = (slice(b, e) if order is None else order[b:e] for b, e in zip(begins, ends, strict=True))
        return np.array([weights[rows_].sum(dtype=np.float64) for rows_ in picked])

    def _set(self, **values: int) -> None:
        for field, value in values.items():
            self.slots[getattr(slots.Job, field)] = value
