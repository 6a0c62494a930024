"""Callbacks of fit, and early stopping, which is one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.inputs.checks import boolean, nonnegative_float, nonnegative_int, positive_int, real
from fastbp.inputs.synonyms import advice
from fastbp.metrics import NAMES


@dataclass(frozen=True)
class State:
    """What a callback receives: the state of fit.

    epoch: the number of completed epochs, counted from the model's first; steps: mini-batches of this call; cost: of
    the current epoch so far, or of the one just completed; validation_cost and metrics: after the last epoch, None and
    empty before the first and without them; learning_rate: of the last step; seconds: of training in this call,
    without validation; model: the `fastbp.Model`, as it is now.
    """

    epoch: int
    steps: int
    cost: float
    validation_cost: float | None
    metrics: Mapping[str, float]
    learning_rate: float
    seconds: float
    model: Any


class Callback:
    """Base class: fit calls the methods at its stages; a subclass overrides those it needs.

    `after_epoch` and `after_slice` stop the training when they return True. A slice is about 0.1 seconds of training.
    It ends with its epoch at the latest if any callback has `after_epoch`; otherwise it may hold many short epochs.
    At the end of an epoch fit calls first all callbacks' `after_epoch`, then all `after_slice`. An exception ends fit
    and leaves the model as it was after the last step.

    A checkpoint stores what `state_dict` returns: plain data and arrays of real numbers, by name. `load_state` receives
    it, with lists instead of tuples.
    """

    def before_fit(self, columns: Mapping[str, bool | None]) -> None:
        """Before the first epoch; columns: what each epoch records -> whether higher is better (None: unknown)."""

    def after_slice(self, state: State) -> bool | None:
        """After a slice of training."""

    def after_epoch(self, state: State) -> bool | None:
        """After an epoch and its validation."""

    def after_fit(self, state: State) -> None:
        """After the last epoch or when a callback has stopped the training; not after an exception or Ctrl-C."""

    def state_dict(self) -> dict[str, Any]:
        """The callback's state in this fit."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; called after `before_fit`."""


class EachEpoch(Callback):
    """A function of the state, called after each epoch."""

    def __init__(self, function: Callable[[State], Any]) -> None:
        self.function = function

    def after_epoch(self, state: State) -> bool | None:
        stop: bool | None = self.function(state)
        return stop


class EarlyStopping(Callback):
    """Stops when `patience` epochs in a row have not improved the monitored value (Prechelt, Neural Networks 1998).

    monitor: "validation_cost", "cost" or the name of a metric. An epoch improves it by being better than the best so
    far by more than min_delta >= 0. restore_best: when training ends, stopped or not, the parameters become those after
    the best epoch (the optimizer's state and the counts of steps stay). Metrics that are functions need
    higher_is_better. After fit, `best` and `best_epoch` are the best value and its epoch.
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        monitor: str = "validation_cost",
        higher_is_better: bool | None = None,
    ) -> None:
        self.patience = positive_int("patience", patience)
        self.min_delta = nonnegative_float("min_delta", min_delta)
        self.restore_best = boolean("restore_best", restore_best)
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of a cost or metric, got {monitor!r}")
        self.monitor = monitor
        self.higher_is_better = None if higher_is_better is None else boolean("higher_is_better", higher_is_better)
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.best_epoch = self._waited = 0
        self._parameters: Any = None
        self._sign = 1.0

    def before_fit(self, columns: Mapping[str, bool | None]) -> None:
        if self.monitor not in columns:
            names = (*columns, "validation_cost", *NAMES)
            hint = "" if self.monitor in names else advice("monitor", self.monitor, names)
            if "validation_cost" not in columns and "validation_cost" in self.monitor + hint:
                hint = f"; fit has no validation data{hint}"
            raise ValueError(f"monitor must be one of {', '.join(columns)} in this fit, got {self.monitor!r}{hint}")
        known = columns[self.monitor]
        higher = known if self.higher_is_better is None else self.higher_is_better
        if higher is None:
            raise ValueError(f"EarlyStopping needs higher_is_better for monitor={self.monitor!r}")
        self._reset()
        self._sign = 1.0 if higher else -1.0

    def after_epoch(self, state: State) -> bool:
        values = {"cost": state.cost, "validation_cost": state.validation_cost, **state.metrics}
        value = values[self.monitor]
        if (
            value is not None
            and np.isfinite(value)
            and (self.best is None or self._sign * (value - self.best) > self.min_delta)
        ):
            self.best, self.best_epoch, self._waited = value, state.epoch, 0
            if self.restore_best:
                self._parameters = state.model.parameters.copy()
        else:
            self._waited += 1
        return self._waited >= self.patience

    def after_fit(self, state: State) -> None:
        if self._parameters is not None:
            state.model.parameters = self._parameters

    def state_dict(self) -> dict[str, Any]:
        state = {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited}
        return state if self._parameters is None else {**state, "parameters": self._parameters}

    def load_state(self, state: Mapping[str, Any]) -> None:
        best, parameters = state["best"], state.get("parameters")
        self.best = None if best is None else real("best", best)
        self.best_epoch = nonnegative_int("best_epoch", state["best_epoch"])
        self._waited = nonnegative_int("waited", state["waited"])
        if parameters is not None and not isinstance(parameters, np.ndarray):
            raise TypeError(f"parameters must be an array, got {parameters!r}")
        self._parameters = parameters


def as_callbacks(callbacks: object, early_stopping: object) -> tuple[Callback, ...]:
    """Callback objects from objects and functions, early stopping last. TypeError for anything else."""
    if isinstance(callbacks, str) or not isinstance(callbacks, Sequence):
        raise TypeError(f"callbacks must be a sequence of functions or Callback objects, got {callbacks!r}")
    found = tuple(_as_callback(callback) for callback in callbacks)
    if early_stopping is None:
        return found
    if not isinstance(early_stopping, EarlyStopping):
        raise TypeError(f"early_stopping must be a fastbp.EarlyStopping object, got {early_stopping!r}")
    return (*found, early_stopping)


def _as_callback(callback: object) -> Callback:
    if isinstance(callback, Callback):
        return callback
    if isinstance(callback, type) or not callable(callback):
        raise TypeError(f"callbacks must hold functions of the state or Callback objects, got {callback!r}")
    return EachEpoch(callback)
