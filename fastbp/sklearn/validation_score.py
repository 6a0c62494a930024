"""Loss and score of an estimator on its validation set."""

from typing import Any

import numpy as np

from fastbp.sklearn import solvers
from fastbp.sklearn.rows import Rows
from fastbp.sklearn.scoring import Scorer


class ValidationSet:
    """The validation set of an estimator in training."""

    def __init__(self, estimator: Any, rows: Rows) -> None:
        if rows.weights is not None and not rows.weights.all():  # an absent row's outputs may be infinite
            rows = rows.at(np.flatnonzero(rows.weights))
        self.estimator, self.rows = estimator, rows
        self.loss_of = solvers.SklearnLoss(estimator, rows)
        by_scorer = estimator.early_stopping and estimator.scoring not in (None, "loss")
        self.scorer = Scorer(estimator, rows) if by_scorer else None

    @property
    def data(self) -> tuple[Any, ...]:
        """(X, y) or (X, y, sample_weight), as `Model.fit` takes them."""
        rows = self.rows
        return (rows.X, rows.y) if rows.weights is None else (rows.X, rows.y, rows.weights)

    def check(self) -> None:
        """ValueError if no network could have a score on these rows."""
        if self.scorer is not None:
            self.scorer.check()

    def score(self, loss: float) -> float:
        """The score, higher is better: -loss, the scorer's, or accuracy or R²; NaN after divergence."""
        e, rows = self.estimator, self.rows
        if not np.isfinite(loss):
            return np.nan
        if self.scorer is not None:
            return self.scorer()
        return -loss if e.scoring == "loss" else e._score_of(rows.labels, e._outputs(rows.X), rows.weights)
