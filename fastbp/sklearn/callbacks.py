"""Who is told how fit goes: the estimator's callbacks, and those of scikit-learn's own interface (1.9 and newer)."""

from collections.abc import Callable
from typing import Any

from fastbp.callbacks import State, as_callbacks
from fastbp.sklearn import networks
from fastbp.sklearn.rows import Rows

COLUMNS = {"cost": False, "validation_cost": False, "score": True}
"""What callbacks may monitor, and whether higher is better."""


class Told:
    """The callbacks of one call of fit. For scikit-learn's it is a task, with one in it for each epoch or iteration."""

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

    def begin(self, name: str = "epoch") -> None:
        """An epoch or iteration begins."""
        if self.context is not None:
            self._step = self.context.subcontext(task_name=name).call_on_fit_task_begin(**self._data)

    def end(self, state: Callable[[], State]) -> bool:
        """It is done; whether any callback wants to stop."""
        stop = self._end(self._step)
        for callback in self.callbacks:
            now = state()
            stop |= callback.after_epoch(now) is True
            stop |= callback.after_slice(now) is True
        return stop

    def close(self, state: Callable[[], State]) -> None:
        """Fit is done."""
        for callback in self.callbacks:
            callback.after_fit(state())
        self._end(self.context)

    def _end(self, context: Any) -> bool:
        if context is None:
            return False
        return bool(context.call_on_fit_task_end(**self._data, reconstruction_attributes=self._now))

    def _now(self) -> dict[str, Any]:
        """What makes a copy of the estimator one that was fitted up to now."""
        model = networks.copied(self.estimator.model_)
        coefs, intercepts = networks.views(model)
        return {"model_": model, "coefs_": coefs, "intercepts_": intercepts}
