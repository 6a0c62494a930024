"""scikit-learn's scorers on a validation set, which may lack some classes."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import get_scorer, roc_auc_score

from fastbp.sklearn.labels import Labels
from fastbp.sklearn.rows import Rows

Array = NDArray[Any]


class Scorer:
    """The scorer of an estimator on these rows; a call returns the score of the estimator with its current weights."""

    def __init__(self, estimator: Any, rows: Rows) -> None:
        self.estimator, self.rows = estimator, rows
        self.scorer = scorer = get_scorer(estimator.scoring)
        self.function: Any = getattr(scorer, "_score_func", None)  # None for a user's function of the estimator
        self.labels: Labels | None = getattr(estimator, "_labels", None)
        self.missing_classes = ""
        if self.labels is not None:
            truth = self.labels.indicators(rows.y)
            counted = truth if rows.weights is None else truth[rows.weights > 0]
            self.missing_classes = missing_classes(self.labels, counted)
            if self.function is not None:
                self.scorer = over_defined_classes(with_labels(scorer, self.labels), self.labels, truth, counted)
        weighted = "sample_weight" in parameters_of(self.function or scorer)
        self.weights = {"sample_weight": rows.weights} if weighted and rows.weights is not None else {}

    def __call__(self) -> float:
        """The score, higher is better. A ValueError of the scorer names the scorer."""
        rows = self.rows
        try:
            return float(self.scorer(self._estimator_for_checked_rows(), rows.X, rows.labels, **self.weights))
        except ValueError as error:
            raise self._error(str(error)) from error

    def check(self) -> None:
        """ValueError if no network could have a score on these rows."""
        score = self()
        if self.missing_classes and not np.isfinite(score):
            raise self._error(f"got {score}")

    def _estimator_for_checked_rows(self) -> Any:
        """A copy of the estimator without column names and with dense labels, as the rows are."""
        e, labels = self.estimator, self.labels
        copied = object.__new__(type(e))
        vars(copied).update({k: v for k, v in vars(e).items() if k not in ("feature_names_in_", "_sparse_y")})
        if self.function is not None and labels is not None and labels.is_multilabel and len(labels.classes) == 2:
            copied.classes_ = [np.array([0, 1])] * 2  # else scorers take two labels for two classes
        return copied

    def _error(self, why: str) -> ValueError:
        scoring = f"scoring={self.estimator.scoring!r}"
        return ValueError(f"{scoring} has no value on the validation set{self.missing_classes}: {why}")


def missing_classes(labels: Labels, truth: Array) -> str:
    """The classes missing in the validation set, for an error. truth: whether each example has each class or label."""
    absent = ~truth.any(axis=0)
    if labels.is_multilabel:
        absent |= truth.all(axis=0)
    names = ", ".join(map(str, labels.classes[absent].tolist()))
    if not names:
        return ""
    return f", where label {names} never differs" if labels.is_multilabel else f", where class {names} does not occur"


def with_labels(scorer: Any, labels: Labels) -> Any:
    """The scorer with the classes of the training data, if its function takes them and reads one column for each.

    Functions of predicted classes average over the classes that occur, and get none.
    """
    if labels.is_multilabel or scorer._response_method == "predict":
        return scorer
    options = {"labels": labels.classes} | ({"pos_label": labels.classes[-1]} if labels.kind == "binary" else {})
    known = parameters_of(scorer._score_func)
    options = {name: value for name, value in options.items() if name in known and known[name].default is None}
    return copy_with(scorer, _kwargs=options | scorer._kwargs)


def over_defined_classes(scorer: Any, labels: Labels, truth: Array, counted: Array) -> Any:
    """The scorer; for roc_auc_score of each class against all others, the mean over the classes where it is defined.

    Such classes have examples and counterexamples among those counted. scikit-learn itself omits the others from the
    mean over pairs of classes and from the weighted mean.
    """
    defined = counted.any(axis=0) & ~counted.all(axis=0)
    one_vs_rest = labels.is_multilabel or scorer._kwargs.get("multi_class") == "ovr"
    if scorer._score_func is not roc_auc_score or not one_vs_rest or defined.all() or not defined.any():
        return scorer

    def over_defined(_: Array, scores: Array, **options: Any) -> Any:
        return roc_auc_score(truth[:, defined], scores[:, defined], **options)

    return copy_with(scorer, _score_func=over_defined)


def copy_with(scorer: Any, **attributes: Any) -> Any:
    """A copy with these attributes."""
    scorer = copy.copy(scorer)
    vars(scorer).update(attributes)
    return scorer


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Parameters by name; none for functions in C without a signature."""
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError:
        return {}
