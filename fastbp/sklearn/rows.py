"""Rows of data, and holding out some for validation as scikit-learn does."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

Array = NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Checked examples: X dense or CSR, y as `Model.fit` takes it, weights or None, labels as the user gave them."""

    X: Any
    y: Array
    weights: Array | None
    labels: Array

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def total_weight(self) -> float:
        """Σ_n w_n."""
        return float(len(self) if self.weights is None else self.weights.sum(dtype=np.float64))

    def at(self, index: Any) -> "Rows":
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[index]
        return Rows(self.X[index], self.y[index], weights, self.labels[index])


def split(estimator: Any, rows: Rows, rng: np.random.RandomState) -> tuple[Rows, Rows]:
    """(training, validation): the rows that scikit-learn's estimators would choose, stratified for two classes."""
    two_classes = hasattr(estimator, "classes_") and estimator.n_outputs_ == 1
    train, held_out = train_test_split(
        np.arange(len(rows)),
        random_state=rng,
        test_size=estimator.validation_fraction,
        stratify=rows.y.astype(bool).reshape(-1, 1) if two_classes else None,
    )
    if len(held_out) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    parts = rows.at(train), rows.at(held_out)
    for part, which in zip(parts, ("to train on", "held out by validation_fraction"), strict=True):
        if not part.total_weight:
            raise ValueError(f"sample_weight must not be all zero for the rows {which}")
    return parts
