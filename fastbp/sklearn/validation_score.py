"""How good an estimator is on its validation set."""

from typing import Any

import numpy as np

from fastbp.sklearn import solvers
from fastbp.sklearn.rows import Rows
from fastbp.sklearn.scoring import Scorer


class Judge:
    """The validation set of an estimator under training, with the loss and the score on it."""

    def __init__(self, estimator: Any, rows: Rows) -> None:
        if rows.weights is not None and not rows.weights.all():  # an absent row's outputs may be infinite
            rows = rows.at(np.flatnonzero(rows.weights))
        self.estimator, self.rows = estimator, rows
        self.loss_of = solvers.LossInSklearnTerms(estimator, rows)
        by_scorer = estimator.early_stopping and estimator.scoring not in (None, "loss")
        self.scorer = Scorer(estimator, rows) if by_scorer else None

    @property
    def data(self) -> tuple[Any, ...]:
        """For the Model's fit."""
        rows = self.rows
        return (rows.X, rows.y) if rows.weights is None else (rows.X, rows.y, rows.weights)

    def check(self) -> None:
        """ValueError if the rows have no score, whatever the network."""
        if self.scorer is not None:
            self.scorer.check()

    def score(self, loss: float) -> float:
        """The larger, the better: -loss, a scorer's, or what scikit-learn's estimators take; NaN after divergence."""
        e, rows = self.estimator, self.rows
        if not np.isfinite(loss):
            return np.nan
        if self.scorer is not None:
            return self.scorer()
        return -loss if e.scoring == "loss" else e._score_of(rows.labels, e._outputs(rows.X), rows.weights)
