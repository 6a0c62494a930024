"""How good an estimator is on its validation set."""

from typing import Any

import numpy as np
from sklearn.metrics import get_scorer

from fastbp.sklearn import solvers
from fastbp.sklearn.split import Rows


class Judge:
    """The validation set of an estimator under training, with the loss and the score on it."""

    def __init__(self, estimator: Any, rows: Rows) -> None:
        self.estimator, self.rows = estimator, rows
        self.loss_of = solvers.LossInSklearnTerms(estimator, rows)

    @property
    def data(self) -> tuple[Any, ...]:
        """For the Model's fit."""
        rows = self.rows
        return (rows.X, rows.y) if rows.weights is None else (rows.X, rows.y, rows.weights)

    def score(self, loss: float) -> float:
        """The larger, the better: -loss, a scorer's, or what scikit-learn's estimators take; NaN after divergence."""
        e, rows = self.estimator, self.rows
        if not np.isfinite(loss):
            return np.nan
        if e.scoring == "loss":
            return -loss
        if e.scoring is None:
            return e._score_of(rows.labels, e._outputs(rows.X), rows.weights)
        plain = object.__new__(type(e))  # X has lost its column names, y is dense
        vars(plain).update({k: v for k, v in vars(e).items() if k not in ("feature_names_in_", "_sparse_y")})
        weights = {} if rows.weights is None else {"sample_weight": rows.weights}
        return float(get_scorer(e.scoring)(plain, rows.X, rows.labels, **weights))
