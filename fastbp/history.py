"""History: what one call of fit records, epoch by epoch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COLUMNS = ("cost", "validation_cost", "learning_rate", "seconds")
"""Recorded in every run; metrics have other names."""


def empty() -> Floats:
    return np.empty(0)


@dataclass(frozen=True)
class History:
    """The record of one call of fit: arrays with one element per completed epoch.

    cost: over the epoch's examples, each at the parameters of its step and, with dropout, of the network without the
    units dropped for it; validation_cost: after the epoch (empty without validation data); metrics: by name, after the
    epoch, on the validation data if there are any and on the training data if not; learning_rate: of the epoch's last
    step; seconds: of training, without validation; examples_per_second: in training; epoch: its number, counted from 1
    over the model's life.
    """

    cost: Floats = field(default_factory=empty)
    validation_cost: Floats = field(default_factory=empty)
    metrics: dict[str, Floats] = field(default_factory=dict)
    learning_rate: Floats = field(default_factory=empty)
    seconds: Floats = field(default_factory=empty)
    examples_per_second: Floats = field(default_factory=empty)
    epoch: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.cost)

    def frame(self) -> Any:
        """A pandas.DataFrame with a row for each epoch and a column for each array. ImportError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError(f'History.frame needs pandas: pip install "fastbp[frame]" ({error})') from error
        columns = {
            "cost": self.cost,
            "validation_cost": self.validation_cost,
            **self.metrics,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
            "examples_per_second": self.examples_per_second,
        }
        if not self.validation_cost.size:
            del columns["validation_cost"]
        return pandas.DataFrame(columns, index=pandas.Index(self.epoch, name="epoch"))

    def plot(self, axes: Any = None) -> Any:
        """Draw the costs over the epochs on matplotlib's axes (None: new ones, of pyplot) and return the axes.

        ImportError without matplotlib.
        """
        from fastbp import plots  # imported only for drawing

        return plots.learning_curve(self.epoch, {"training": self.cost, "held out": self.validation_cost}, axes)
