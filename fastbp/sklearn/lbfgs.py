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
from fastbp.sklearn.callbacks import Told
from fastbp.sklearn.rows import Rows
from fastbp.sklearn.validation_score import Judge

Array = NDArray[Any]

STOPPED_BY_CALLBACK = 99
"""SciPy's status for it."""

PIECE_BYTES = 16 << 20
"""Of sparse rows that are dense at the same time."""


class Cost:
    """The penalised cost over all rows and its gradient, in float64.

    Whatever the dtype of the rows: the line search compares costs more exactly than float32 can tell them.
    """

    def __init__(self, estimator: Any, model: Model, rows: Rows) -> None:
        sizes, theta = model.network.sizes, model.parameters.astype(np.float64)
        self.model = networks.model_of(estimator, sizes, theta, np.float64, model.seed)
        self.alpha = estimator.alpha / rows.total_weight
        self.loss_of = solvers.LossInSklearnTerms(estimator, rows)
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
                value, its_gradient = self.model.value_and_gradient(X, rows.y, rows.weights, theta)
                cost += share * value
                gradient += share * its_gradient
        return (cost, gradient) if np.isfinite(cost) else (np.inf, np.zeros_like(theta))

    def penalty(self, theta: Array) -> float:
        """½ alpha / Σ_n w_n times the sum of squared weights."""
        return float(0.5 * self.alpha * np.dot(self.is_weight * theta, theta))

    def loss(self, theta: Array, cost: float) -> float:
        """This cost as scikit-learn reports it."""
        penalty = self.penalty(theta)
        return self.loss_of(cost - penalty, penalty)


def pieces(rows: Rows) -> list[Rows]:
    """Dense rows at once, in float64; sparse ones in parts that may be dense for a while."""
    if not issparse(rows.X):
        return [Rows(rows.X.astype(np.float64, copy=False), rows.y, rows.weights, rows.labels)]
    step = max(1, PIECE_BYTES // (8 * rows.X.shape[1]))
    return [rows.at(slice(begin, begin + step)) for begin in range(0, len(rows), step)]


class Iterations:
    """What happens after each iteration, and what the estimator then knows of it."""

    def __init__(self, estimator: Any, model: Model, rows: Rows, held_out: Rows | None, cost: Cost) -> None:
        self.estimator, self.model, self.cost = estimator, model, cost
        self.judge = None if held_out is None else Judge(estimator, held_out)
        self.rows = len(rows)
        estimator.validation_loss_curve_ = None if held_out is None else []
        estimator.n_iter_ = estimator.t_ = 0
        self.told = Told(estimator, rows, estimator.max_iter)
        self.begun = time.perf_counter()

    def __call__(self, intermediate_result: scipy.optimize.OptimizeResult) -> None:
        """SciPy's callback: StopIteration stops."""
        e = self.estimator
        e.n_iter_ += 1
        self.take(intermediate_result)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        if self.judge is not None:
            e.validation_loss_curve_.append(self.judge.loss_of(self.model.evaluate(*self.judge.data)["cost"]))
        self.told.begin("lbfgs-iter")
        if self.told.end(self.state):
            raise StopIteration

    def take(self, result: scipy.optimize.OptimizeResult) -> None:
        """These are the parameters now."""
        self.estimator.t_ = self.estimator.n_iter_ * self.rows
        self.estimator.loss_ = self.cost.loss(result.x, result.fun)
        self.model.parameters = result.x

    def state(self) -> State:
        """For callbacks; an iteration has no learning rate."""
        e = self.estimator
        return State(
            epoch=e.n_iter_,
            steps=e.n_iter_,
            cost=e.loss_,
            validation_cost=e.validation_loss_curve_[-1] if e.validation_loss_curve_ else None,
            metrics={},
            learning_rate=np.nan,
            seconds=time.perf_counter() - self.begun,
            model=self.model,
        )


def minimise(estimator: Any, model: Model, rows: Rows, held_out: Rows | None) -> None:
    """Set the model's parameters to what L-BFGS finds from them; n_iter_, loss_ and t_ on the estimator."""
    e, cost = estimator, Cost(estimator, model, rows)
    after_iteration = Iterations(estimator, model, rows, held_out, cost)
    with threadpool_limits(1, "blas"):  # its idle threads would keep our workers from the cores
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
    after_iteration.take(result)
    after_iteration.told.close(after_iteration.state)
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
