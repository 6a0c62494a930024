"""Record: the costs and other values of a run's epochs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.job import Job
from fastbp.history import COLUMNS, History


def average(cost: float, total: float) -> float:
    """The cost of examples from the sums of their costs (times weight) and weights."""
    return cost / total if total else np.nan


class Record:
    """Sums over the current epoch, and a column of values for the complete epochs of each name.

    mean: whether costs are averages over examples; metrics: names of columns besides `COLUMNS`.
    """

    def __init__(self, mean: bool, metrics: tuple[str, ...]) -> None:
        self.mean, self.metrics = mean, metrics
        self.columns: dict[str, list[float]] = {name: [] for name in (*COLUMNS, *metrics)}
        self.seconds = 0.0  # of training
        self._sums = np.zeros(2)  # over the current epoch: cost (times weight) and weight
        self._epoch_seconds = 0.0

    @property
    def epochs(self) -> int:
        """Complete epochs."""
        return len(self.columns["cost"])

    def last(self) -> dict[str, float]:
        """The values of the last complete epoch, by name."""
        return {name: values[-1] for name, values in self.columns.items() if values}

    def add_slice(self, job: Job, first: int, elapsed: float) -> None:
        """Add the job's last run, from the epoch's mini-batch `first` on, and close the epochs that are complete."""
        done, per_epoch = job.done, job.per_epoch
        share = elapsed / max(done, 1)
        self.seconds += elapsed
        sums = np.array([job.costs * job.totals if self.mean else job.costs, job.totals])
        begin = min(done, -first % per_epoch)
        whole = (done - begin) // per_epoch
        end = begin + whole * per_epoch
        if begin:
            self._add_to_epoch(sums[:, :begin], share * begin)
            if (first + begin) % per_epoch == 0:
                self._close_epochs(job, self._sums[:, None], np.array([begin]), self._epoch_seconds)
                self._sums, self._epoch_seconds = np.zeros(2), 0.0
        # added in order: where slices end depends on time, and must not change a bit
        epochs = np.add.accumulate(sums[:, begin:end].reshape(2, whole, per_epoch), axis=2)[:, :, -1]
        self._close_epochs(job, epochs, begin + per_epoch * np.arange(1, whole + 1), share * per_epoch)
        if end < done:
            self._add_to_epoch(sums[:, end:done], share * (done - end))

    def _add_to_epoch(self, sums: NDArray[np.float64], seconds: float) -> None:
        """Add mini-batches to the current epoch."""
        self._sums = np.add.accumulate(np.column_stack([self._sums, sums]), axis=1)[:, -1]
        self._epoch_seconds += seconds

    def _close_epochs(self, job: Job, sums: NDArray[np.float64], ends: NDArray[np.int64], seconds: float) -> None:
        """Record epochs of these sums; ends: their last steps in the slice; seconds: that each took."""
        assert job.settings is not None
        self.columns["cost"] += [self._average(cost, total) for cost, total in sums.T.tolist()]
        self.columns["learning_rate"] += job.settings[ends - 1, 0].tolist()
        self.columns["seconds"] += [seconds] * len(ends)

    def _average(self, cost: float, total: float) -> float:
        """The cost of an epoch from its sums of costs (times weight) and weights."""
        return average(cost, total) if self.mean else cost

    def cost(self) -> float:
        """Of the current epoch so far."""
        return self._average(*self._sums.tolist())

    def add(self, values: dict[str, float]) -> None:
        """Record the validation cost and the metrics of the last epoch."""
        for name, value in values.items():
            self.columns[name].append(value)

    def history(self, epochs_before: int, rows: int) -> History:
        """The complete epochs, each of `rows` examples."""
        columns = {name: np.array(values) for name, values in self.columns.items()}
        seconds, first = columns["seconds"], epochs_before + 1
        return History(
            columns["cost"],
            columns["validation_cost"],
            {name: columns[name] for name in self.metrics},
            columns["learning_rate"],
            seconds,
            rows / np.maximum(seconds, 1e-9),
            np.arange(first, first + len(seconds)),
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain data and arrays, for `load_state`."""
        return {
            "columns": {name: np.array(values) for name, values in self.columns.items()},
            "sums": self._sums.tolist(),
            "epoch_seconds": self._epoch_seconds,
            "seconds": self.seconds,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.columns = {name: values.tolist() for name, values in state["columns"].items()}
        self._sums, self._epoch_seconds = np.array(state["sums"]), state["epoch_seconds"]
        self.seconds = state["seconds"]
