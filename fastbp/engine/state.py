"""TrainingState: what training changes. A model owns it and hands it to training and storage."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.network_table import aligned_zeros
from fastbp.optimizers import Adam, Optimizer, ScheduledOptimizer, n_moments
from fastbp.scaling import Scaling
from fastbp.schedules import START, Progress, as_schedule

Array = NDArray[Any]


class InterruptedRun(NamedTuple):
    """A run of fit as its checkpoint has it.

    path: of the file; arguments: of fit; fingerprint: of the data; progress: `Run.state_dict`.
    """

    path: str
    arguments: dict[str, Any]
    fingerprint: str
    progress: dict[str, Any]


@dataclass(eq=False, slots=True)
class TrainingState:
    """Parameters, optimizer and counts of one model.

    moments: the optimizer's vectors, one after the other; updates: mini-batches learned from by optimizers of this
    rule; epochs: complete passes; schedule: where the learning rate's schedule is; resumed: the run that the next fit
    continues; in_fit: set while fit runs, so that its callbacks do not train the same model; scaling: of inputs and
    outputs, None before it is learned.
    """

    theta: Array
    moments: Array
    optimizer: Optimizer = field(default_factory=Adam)
    updates: int = 0
    epochs: int = 0
    schedule: Progress = START
    resumed: InterruptedRun | None = None
    in_fit: bool = False
    scaling: Scaling | None = None

    @classmethod
    def begin(cls, theta: Array) -> "TrainingState":
        """The state before any training, with an aligned copy of theta."""
        return cls(aligned(theta), np.zeros(0, theta.dtype))

    def adopt(self, new: Optimizer) -> None:
        """Make `new` the optimizer; moments, updates and schedule continue as far as the old optimizer's suit it."""
        size = n_moments(new) * self.theta.size
        same = new.rule == self.optimizer.rule
        updates = self.updates if same else 0
        continues = same and new.learning_rate == self.optimizer.learning_rate
        schedule = self.schedule if continues else Progress(begun=updates)
        moments = self.moments if len(self.moments) == size and updates else aligned_zeros(size, self.theta.dtype)
        # all or none when Ctrl-C comes
        self.optimizer, self.moments, self.updates, self.schedule = new, moments, updates, schedule


def optimizer_arrays(state: TrainingState, steps: int) -> tuple[Array, NDArray[np.float64]]:
    """Copies of the moments, zeros at first, and the settings of the next steps: see `Model.optimizer_state`."""
    optimizer = state.optimizer
    if optimizer.clip_norm is not None:
        raise ValueError(f"optimizer must have clip_norm=None for optimizer_state, got {optimizer.clip_norm}")
    if as_schedule(optimizer.learning_rate).each_epoch:
        raise ValueError("optimizer must have a learning rate that does not depend on the cost for optimizer_state")
    moments = aligned_zeros(n_moments(optimizer) * state.theta.size, state.theta.dtype)
    if state.updates:
        moments[:] = state.moments
    return moments, ScheduledOptimizer(optimizer, state.schedule).settings(state.updates, steps)


def aligned(values: Array) -> Array:
    """A flat copy that begins at a cache line."""
    copy = aligned_zeros(values.size, values.dtype)
    copy[:] = values.ravel()
    return copy
