"""Training by mini-batches, with scikit-learn's bookkeeping after each epoch."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastbp import Model
from fastbp.callbacks import State
from fastbp.sklearn import solvers
from fastbp.sklearn.callbacks import CallbackDispatch
from fastbp.sklearn.rows import Rows
from fastbp.sklearn.validation_score import ValidationSet
from fastbp.training.progress_bar import ProgressBar

Array = NDArray[Any]

MOST_EPOCHS = 100
"""The most epochs in one call of `Model.fit`: Ctrl-C loses the costs of the call."""

INITIAL_ATTRIBUTES = {
    "t_": 0, "loss_": np.nan, "loss_curve_": (), "_no_improvement_count": 0, "best_loss_": None,
    "validation_scores_": None, "best_validation_score_": None, "validation_loss_curve_": None,
}  # fmt: skip
"""Attributes of an estimator before its first epoch."""

SMALLEST_RATE = 1e-6
"""The learning rate below which "adaptive" stops."""


class Epochs:
    """One call of fit, or of partial_fit (once=True). Sets loss_curve_ and the like on the estimator."""

    def __init__(
        self, estimator: Any, model: Model, rows: Rows, held_out: Rows | None, first: bool, once: bool
    ) -> None:
        self.estimator, self.model, self.rows, self.once = estimator, model, rows, once
        self.validation = None if held_out is None else ValidationSet(estimator, held_out)
        self.loss_of = solvers.SklearnLoss(estimator, rows)
        self.batch_size = solvers.batch_size_of(estimator, len(rows))
        if estimator.batch_size != "auto" and estimator.batch_size > len(rows):
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2
            )
        model.l2 = estimator.alpha * len(rows) / (rows.total_weight * self.batch_size)
        self._begin(first)
        if not once or not hasattr(estimator, "_optimizer"):
            estimator._optimizer = solvers.optimizer_of(estimator, -(-len(rows) // self.batch_size))
        self.learning_rate = np.nan  # of the last step
        self.seconds = self.seconds_before = 0.0  # of training: in all, and before the current Model.fit
        self.bar: ProgressBar | None = None
        self.callbacks = CallbackDispatch(estimator, rows, 1 if once else estimator.max_iter)
        self.diverged = False  # parameters and losses are no longer finite

    def _begin(self, first: bool) -> None:
        """Set the attributes to their initial values, or to copies of those of the last call, as this call may fail."""
        e = self.estimator
        for name, value in INITIAL_ATTRIBUTES.items():
            if first or not hasattr(e, name):
                setattr(e, name, value)
        if first or not hasattr(e, "_best_parameters"):
            e._best_parameters = self.model.parameters.copy()
        if not e.early_stopping and e.best_loss_ is None:
            e.best_loss_ = np.inf
        if e.early_stopping and e.validation_scores_ is None:
            e.validation_scores_, e.best_validation_score_ = [], -np.inf
        if self.validation is not None and e.validation_loss_curve_ is None:
            e.validation_loss_curve_ = []
            self.validation.check()
        for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_"):
            value = getattr(e, name)
            setattr(e, name, None if value is None else list(value))
        e.n_iter_, e.stopped_ = 0, False

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until there is no more improvement, or for max_iter epochs."""
        e = self.estimator
        try:
            with self._progress() as self.bar:
                while not e.stopped_ and not self.diverged and e.n_iter_ < (1 if self.once else e.max_iter):
                    self._train()
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if self.diverged and (not e.early_stopping or e.best_validation_score_ == -np.inf):
            raise ValueError(solvers.NOT_FINITE)
        if not self.once and not e.stopped_ and e.n_iter_ == e.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        if e.early_stopping and (e.stopped_ or not self.once):
            if e.validation_scores_ and e.best_validation_score_ == -np.inf:
                raise ValueError(
                    f"scoring={e.scoring!r} must be finite after some epoch, got {e.validation_scores_[-1]}"
                )
            self.model.parameters = e._best_parameters
        self.callbacks.end_fit(self._state)

    def _progress(self) -> AbstractContextManager[ProgressBar | None]:
        e = self.estimator
        return ProgressBar(1 if self.once else e.max_iter) if e.verbose == "progress" else nullcontext()

    def _train(self) -> None:
        """Train with one call of `Model.fit`, up to the next change of optimizer or the end."""
        e, rows, validation = self.estimator, self.rows, self.validation
        each = bool(self.callbacks or e.early_stopping or e.verbose or solvers.adjusts_rate(e, "invscaling"))
        try:
            self.callbacks.begin_epoch()
            history = self.model.fit(
                rows.X, rows.y, epochs=self._epochs(each), batch_size=self.batch_size, optimizer=e._optimizer,
                sample_weight=rows.weights, shuffle=e.shuffle, n_threads=e.n_threads,
                validation_data=None if validation is None else validation.data,
                callbacks=[self._after_epoch] if each else (),
            )  # fmt: skip
        except FloatingPointError:
            self.diverged = True
            self._end_epoch(np.nan, np.nan)
            self.callbacks.end_epoch(self._state)
            return
        self.seconds_before += float(history.seconds.sum())
        if not each:
            for cost, validation_cost in zip_longest(history.cost, history.validation_cost):
                self._end_epoch(float(cost), validation_cost)

    def _epochs(self, each: bool) -> int:
        """The most epochs for one call of `Model.fit`; unless each=True, none after the first that may be the last."""
        e = self.estimator
        if self.once:
            return 1
        remaining = e.max_iter - e.n_iter_
        decision = e.n_iter_no_change - e._no_improvement_count + 1
        return int(remaining if each else max(1, min(MOST_EPOCHS, remaining, decision)))

    def _after_epoch(self, state: State) -> bool:
        """Callback of `Model.fit`: returns whether the call must end, as training stops or the optimizer changes."""
        e, optimizer = self.estimator, self.estimator._optimizer
        self._end_epoch(state.cost, state.validation_cost)
        self.learning_rate, self.seconds = state.learning_rate, self.seconds_before + state.seconds
        e.stopped_ |= self.callbacks.end_epoch(self._state)
        if self.bar is not None:
            self.bar.show(e.n_iter_, self._state())
        if e.stopped_ or e._optimizer is not optimizer:
            return True
        if e.n_iter_ < e.max_iter and not self.once:
            self.callbacks.begin_epoch()
        return False

    def _state(self) -> State:
        """The state that callbacks receive."""
        e = self.estimator
        return State(
            epoch=len(e.loss_curve_),
            steps=e.n_iter_ * -(-len(self.rows) // self.batch_size),
            cost=e.loss_,
            validation_cost=e.validation_loss_curve_[-1] if e.validation_loss_curve_ else None,
            metrics={"score": e.validation_scores_[-1]} if e.validation_scores_ else {},
            learning_rate=self.learning_rate,
            seconds=self.seconds,
            model=self.model,
        )

    # --- after each epoch ---------------------------------------------------------------------------------------

    def _end_epoch(self, cost: float, validation_cost: float | None) -> None:
        e = self.estimator
        penalty = solvers.penalty_of(self.model) if self.loss_of.divisor > 1 else 0.0
        loss = self.loss_of(cost - penalty, penalty)
        e.n_iter_ += 1
        e.t_ += len(self.rows)
        e.loss_ = loss
        e.loss_curve_.append(loss)
        self._print(f"Iteration {e.n_iter_}, loss = {loss:.8f}")
        if not e.early_stopping:
            self._count_epoch(better=loss <= e.best_loss_ - e.tol)
            e.best_loss_ = min(e.best_loss_, loss)  # a NaN is ignored
        if self.validation is not None and validation_cost is not None:
            self._score_epoch(self.validation, self.validation.loss_of(validation_cost))
        self._adjust_rate_or_stop()

    def _score_epoch(self, validation: ValidationSet, loss: float) -> None:
        e = self.estimator
        e.validation_loss_curve_.append(loss)
        if not e.early_stopping:
            return
        score = validation.score(loss)
        e.validation_scores_.append(score)
        self._print(f"Validation score: {score:f}")
        self._count_epoch(better=score >= e.best_validation_score_ + e.tol)  # a NaN is not
        if score > e.best_validation_score_:
            e.best_validation_score_ = score
            e._best_parameters = self.model.parameters.copy()

    def _count_epoch(self, better: bool) -> None:
        self.estimator._no_improvement_count = 0 if better else self.estimator._no_improvement_count + 1

    def _adjust_rate_or_stop(self) -> None:
        """Set the learning rate of the next epoch, or stop."""
        e = self.estimator
        if solvers.adjusts_rate(e, "invscaling"):
            rate = e.learning_rate_init / (e.t_ + 1) ** e.power_t
            e._optimizer = solvers.with_rate(e._optimizer, rate, self.model)
        if e._no_improvement_count > e.n_iter_no_change:
            self._stop_or_reduce_rate()

    def _stop_or_reduce_rate(self) -> None:
        """After n_iter_no_change epochs without improvement: stop, or reduce the learning rate."""
        e = self.estimator
        what = "Validation score" if e.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={e.tol:f} for {e.n_iter_no_change} consecutive epochs."
        if not solvers.adjusts_rate(e, "adaptive"):
            e.stopped_ = True
            self._print(f"{message} Stopping.")
        elif e._optimizer.learning_rate <= SMALLEST_RATE:
            e.stopped_ = True
            self._print(f"{message} Learning rate too small. Stopping.")
        else:
            e._optimizer = solvers.with_rate(e._optimizer, e._optimizer.learning_rate / 5, self.model)
            e._no_improvement_count = 0
            self._print(f"{message} Setting learning rate to {e._optimizer.learning_rate:f}")

    def _print(self, text: str) -> None:
        if self.estimator.verbose and self.estimator.verbose != "progress":
            print(text)
