"""Training by L-BFGS: SciPy's, over the Model's value and gradient."""

import time
import warnings
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from fastbp import Model
from fastbp.callbacks import State
from fastbp.sklearn import networks, solvers
from fastbp.sklearn.callbacks import CallbackDispatch
from fastbp.sklearn.rows import Rows
from fastbp.sklearn.validation_score import ValidationSet

Array = NDArray[Any]

STOPPED_BY_CALLBACK = 99
"""SciPy's status after StopIteration."""

PIECE_BYTES = 16 << 20
"""Size of a dense piece of sparse rows."""


class Cost:
    """The penalised cost over all rows and its gradient, in float64.

    Independent of the dtype of the rows: the line search compares costs that differ by less than float32 resolves.
    """

    def __init__(self, estimator: Any, model: Model, rows: Rows) -> None:
        sizes, theta = model.network.sizes, model.parameters.astype(np.float64)
        self.model = networks.model_of(estimator, sizes, theta, np.float64, model.seed, model.scaling)
        self.alpha = estimator.alpha / rows.total_weight
        self.loss_of = solvers.SklearnLoss(estimator, rows)
        self.pieces = pieces(rows)
        self.total_weight = rows.total_weight
        is_weight = np.zeros_like(theta)
        for w in model.network.weights(is_weight):
            w[...] = 1
        self.is_weight = is_weight

    def __call__(self, theta: Array) -> tuple[float, Array]:
        penalised = self.is_weight * theta
        cost, gradient = self.penalty(theta), self.alpha * penalised
        for rows in self.pieces:
            X = rows.X.toarray() if issparse(rows.X) else rows.X
            share = rows.total_weight / self.total_weight
            if share:
                value, piece_gradient = self.model.value_and_gradient(X, rows.y, rows.weights, theta)
                cost += share * value
                gradient += share * piece_gradient
        return (cost, gradient) if np.isfinite(cost) else (np.inf, np.zeros_like(theta))

    def penalty(self, theta: Array) -> float:
        """½ alpha / Σ_n w_n times the sum of squared weights."""
        return float(0.5 * self.alpha * np.dot(self.is_weight * theta, theta))

    def loss(self, theta: Array, cost: float) -> float:
        """The cost as scikit-learn reports it."""
        penalty = self.penalty(theta)
        return self.loss_of(cost - penalty, penalty)


def pieces(rows: Rows) -> list[Rows]:
    """Dense rows as one piece, in float64; sparse rows in pieces that are small enough to make dense."""
    if not issparse(rows.X):
        return [Rows(rows.X.astype(np.float64, copy=False), rows.y, rows.weights, rows.labels)]
    step = max(1, PIECE_BYTES // (8 * rows.X.shape[1]))
    return [rows.at(slice(begin, begin + step)) for begin in range(0, len(rows), step)]


class Iterations:
    """SciPy's callback: updates the estimator's attributes and calls its callbacks after each iteration."""

    def __init__(self, estimator: Any, model: Model, rows: Rows, held_out: Rows | None, cost: Cost) -> None:
        self.estimator, self.model, self.cost = estimator, model, cost
        self.validation = None if held_out is None else ValidationSet(estimator, held_out)
        self.rows = len(rows)
        estimator.validation_loss_curve_ = None if held_out is None else []
        estimator.n_iter_ = estimator.t_ = 0
        self.callbacks = CallbackDispatch(estimator, rows, estimator.max_iter)
        self.start = time.perf_counter()

    def __call__(self, intermediate_result: scipy.optimize.OptimizeResult) -> None:
        """After an iteration; raises StopIteration to stop."""
        e = self.estimator
        e.n_iter_ += 1
        self.update(intermediate_result)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        if self.validation is not None:
            cost = self.model.evaluate(*self.validation.data)["cost"]
            e.validation_loss_curve_.append(self.validation.loss_of(cost))
        self.callbacks.begin_epoch("lbfgs-iter")
        if self.callbacks.end_epoch(self.state):
            raise StopIteration

    def update(self, result: scipy.optimize.OptimizeResult) -> None:
        """Copy parameters and loss of the result to the model and the estimator."""
        self.estimator.t_ = self.estimator.n_iter_ * self.rows
        self.estimator.loss_ = self.cost.loss(result.x, result.fun)
        self.model.parameters = result.x

    def state(self) -> State:
        """The state that callbacks receive; an iteration has no learning rate."""
        e = self.estimator
        return State(
            epoch=e.n_iter_,
            steps=e.n_iter_,
            cost=e.loss_,
            validation_cost=e.validation_loss_curve_[-1] if e.validation_loss_curve_ else None,
            metrics={},
            learning_rate=np.nan,
            seconds=time.perf_counter() - self.start,
            model=self.model,
        )


def minimise(estimator: Any, model: Model, rows: Rows, held_out: Rows | None) -> None:
    """Minimise the cost by L-BFGS. Changes the model's parameters, and n_iter_, loss_ and t_ of the estimator."""
    e, cost = estimator, Cost(estimator, model, rows)
    after_iteration = Iterations(estimator, model, rows, held_out, cost)
    with threadpool_limits(1, "blas"):  # idle BLAS threads would spin on the cores of our workers
        result = scipy.optimize.minimize(
            cost,
            cost.model.parameters.copy(),
            method="L-BFGS-B",
            jac=True,
            callback=after_iteration,
            options={"maxfun": e.max_fun, "maxiter": e.max_iter, "gtol": e.tol},
        )
    if not np.isfinite(result.x).all():
        raise ValueError(solvers.NOT_FINITE)
    e.n_iter_ = min(result.nit, e.max_iter)
    after_iteration.update(result)
    after_iteration.callbacks.end_fit(after_iteration.state)
    if result.status not in (0, STOPPED_BY_CALLBACK):
        more = f"\nIncrease the number of iterations to improve the convergence (max_iter={e.max_iter})."
        warnings.warn(
            f"lbfgs failed to converge after {e.n_iter_} iteration(s) (status={result.status}):\n{result.message}\n"
            f"{more if e.n_iter_ == e.max_iter else ''}\n"
            "You might also want to scale the data as shown in:\n"
            "    https://scikit-learn.org/stable/modules/preprocessing.html",
            ConvergenceWarning,
            stacklevel=2,
        )
