"""Scores of predictions beside those of a baseline that knows the targets alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def of_classes(y: Array, probabilities: Array, shares: Array) -> dict[str, float]:
    """Accuracy and log loss; the baseline's, which predicts the shares of the classes in training."""
    rows = np.arange(len(y))
    at_least = np.finfo(np.float32).tiny
    return {
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == y)),
        "baseline_accuracy": float(np.mean(y == shares.argmax())),
        "log_loss": float(-np.mean(np.log(np.maximum(probabilities[rows, y], at_least)))),
        "baseline_log_loss": float(-np.mean(np.log(np.maximum(shares[y], at_least)))),
    }


def of_numbers(y: Array, predicted: Array, means: Array) -> dict[str, float]:
    """R², mean absolute error and root mean squared error, means over targets; the baseline predicts their means."""
    residual, spread = ((y - predicted) ** 2).mean(axis=0), ((y - y.mean(axis=0)) ** 2).mean(axis=0)
    r2 = 1 - np.divide(residual, spread, out=np.where(residual > 0, 1.0, 0.0), where=spread > 0)
    return {
        "r2": float(r2.mean()),
        "mae": float(np.abs(y - predicted).mean()),
        "baseline_mae": float(np.abs(y - means).mean()),
        "rmse": float(np.sqrt(residual.mean())),
        "baseline_rmse": float(np.sqrt(((y - means) ** 2).mean())),
    }


def of_each_class(y: Array, predicted: Array, n_classes: int) -> tuple[Array, Array, Array]:
    """(precision, recall, confusion): confusion[t, p] counts rows of class t predicted as p; NaN for 0 / 0."""
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (y, predicted), 1)
    right = np.diag(confusion).astype(float)
    with np.errstate(invalid="ignore"):
        return right / confusion.sum(axis=0), right / confusion.sum(axis=1), confusion
