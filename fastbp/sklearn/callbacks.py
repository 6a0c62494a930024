"""Callback dispatch: the estimator's callbacks, and those of scikit-learn's interface (1.9 and newer)."""

from collections.abc import Callable
from typing import Any

from fastbp.callbacks import State, as_callbacks
from fastbp.sklearn import networks
from fastbp.sklearn.rows import Rows

COLUMNS = {"cost": False, "validation_cost": False, "score": True}
"""The values that callbacks may monitor, and whether higher is better."""


class CallbackDispatch:
    """Calls the callbacks of one fit. scikit-learn's see fit as a task, with a subtask for each epoch or iteration."""

    def __init__(self, estimator: Any, rows: Rows, steps: int) -> None:
        self.estimator = estimator
        self.callbacks = as_callbacks(estimator.callbacks or (), None)
        self.context: Any = None
        self._step: Any = None
        weights = {} if rows.weights is None else {"metadata": {"sample_weight": rows.weights}}
        self._data = {"estimator": estimator, "X": rows.X, "y": rows.labels, **weights}
        for callback in self.callbacks:
            callback.before_fit(COLUMNS)
        if getattr(estimator, "_skl_callbacks", None) or hasattr(estimator, "_parent_callback_ctx"):
            self.context = estimator._init_callback_context(max_subtasks=steps)
            self.context.call_on_fit_task_begin(**self._data)

    def __bool__(self) -> bool:
        return self.context is not None or bool(self.callbacks)

    def begin_epoch(self, name: str = "epoch") -> None:
        """To call before each epoch or iteration."""
        if self.context is not None:
            self._step = self.context.subcontext(task_name=name).call_on_fit_task_begin(**self._data)

    def end_epoch(self, state: Callable[[], State]) -> bool:
        """To call after each epoch or iteration; returns whether a callback stops the training."""
        stop = self._end_task(self._step)
        for callback in self.callbacks:
            current = state()
            stop |= callback.after_epoch(current) is True
            stop |= callback.after_slice(current) is True
        return stop

    def end_fit(self, state: Callable[[], State]) -> None:
        """To call after the last epoch."""
        for callback in self.callbacks:
            callback.after_fit(state())
        self._end_task(self.context)

    def _end_task(self, context: Any) -> bool:
        if context is None:
            return False
        return bool(context.call_on_fit_task_end(**self._data, reconstruction_attributes=self._fitted_attributes))

    def _fitted_attributes(self) -> dict[str, Any]:
        """The attributes that turn a copy of the estimator into one fitted up to now."""
        model = networks.copy_of(self.estimator.model_)
        coefs, intercepts = networks.views(model)
        return {"model_": model, "coefs_": coefs, "intercepts_": intercepts}
