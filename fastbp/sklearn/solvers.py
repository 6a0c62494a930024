"""From the estimator's parameters to optimizer, learning rate and batch size; the loss as scikit-learn has it."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fastbp import SGD, Adam, Model
from fastbp.optimizers import OPTIMIZERS, Optimizer
from fastbp.schedules import SCHEDULES, Schedule
from fastbp.sklearn.rows import Rows

Array = NDArray[Any]

LARGEST_MOMENTUM = float(np.nextafter(1, 0))  # scikit-learn allows 1

SKLEARN_RATES = ("constant", "invscaling", "adaptive")
"""scikit-learn's names of learning rates."""

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


def optimizer_of(estimator: Any, steps_an_epoch: int) -> Optimizer:
    """The optimizer that solver, learning_rate and their parameters describe."""
    solver = estimator.solver
    if not isinstance(solver, str):
        return solver
    rate = rate_of(estimator, steps_an_epoch)
    if solver == "sgd":
        momentum = min(float(estimator.momentum), LARGEST_MOMENTUM)
        return SGD(rate, momentum, nesterov=estimator.nesterovs_momentum)
    if solver == "adam":
        return Adam(rate, *(float(getattr(estimator, name)) for name in ("beta_1", "beta_2", "epsilon")))
    return OPTIMIZERS[solver](learning_rate=rate)


def rate_of(estimator: Any, steps_an_epoch: int) -> float | Schedule:
    """learning_rate_init, or the schedule that learning_rate is or names; `Epochs` adjusts scikit-learn's own."""
    given, initial = estimator.learning_rate, float(estimator.learning_rate_init)
    if isinstance(given, Schedule):
        return given
    if given in SKLEARN_RATES:
        return initial
    kind = SCHEDULES[given]
    lengths = {"steps": estimator.max_iter * steps_an_epoch} if "steps" in kind.__dataclass_fields__ else {}
    return kind(initial, **lengths)


def adjusts_rate(estimator: Any, how: str) -> bool:
    """Whether the learning rate is adjusted after epochs, "invscaling" or "adaptive": as in scikit-learn with sgd."""
    return bool(estimator.solver == "sgd" and estimator.learning_rate == how)


def with_rate(optimizer: Optimizer, rate: float, model: Model) -> Optimizer:
    """The optimizer at a new learning rate; its velocity keeps its length, as in scikit-learn."""
    if optimizer.rule == "momentum":
        model.moments[:] *= cast(float, optimizer.learning_rate) / rate
    return replace(optimizer, learning_rate=rate)


def batch_size_of(estimator: Any, n: int) -> int:
    """Examples of a mini-batch; "auto" means all for an optimizer that needs full batches."""
    kind = estimator.solver
    if estimator.batch_size == "auto" and (OPTIMIZERS[kind] if isinstance(kind, str) else kind).full_batch:
        return n
    return min(200, n) if estimator.batch_size == "auto" else min(int(estimator.batch_size), n)


class SklearnLoss:
    """The loss that scikit-learn reports, from the Model's cost.

    There, squared error is a mean over the outputs, and the Poisson loss has a term of y alone: xlogy(y, y) - y.
    """

    def __init__(self, estimator: Any, rows: Rows) -> None:
        self.divisor = rows.y.shape[1] if estimator.loss == "squared_error" and rows.y.ndim == 2 else 1
        self.constant = 0.0
        if estimator.loss == "poisson":
            y = np.asarray(rows.y, np.float64)
            part = y * np.log(np.where(y > 0, y, 1)) - y
            self.constant = float(np.average(part.reshape(len(y), -1).sum(axis=1), weights=rows.weights))

    def __call__(self, data_cost: float, penalty: float = 0.0) -> float:
        return data_cost / self.divisor + self.constant + penalty


def penalty_of(model: Model) -> float:
    """½ l2 Σ w², a term of the training cost."""
    return 0.5 * model.l2 * sum(float(np.vdot(w, w)) for w in model.weights)
