"""scikit-learn's scorers on a validation set, which need not have every class."""

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
    """The scorer of an estimator on these rows; a call is the score of the estimator as it is now."""

    def __init__(self, estimator: Any, rows: Rows) -> None:
        self.estimator, self.rows = estimator, rows
        self.scorer = scorer = get_scorer(estimator.scoring)
        self.function: Any = getattr(scorer, "_score_func", None)  # none of a function of the estimator
        self.labels: Labels | None = getattr(estimator, "_labels", None)
        self.lacking = ""
        if self.labels is not None:
            truth = self.labels.indicators(rows.y)
            counted = truth if rows.weights is None else truth[rows.weights > 0]
            self.lacking = lacking(self.labels, counted)
            if self.function is not None:
                self.scorer = where_defined(with_labels(scorer, self.labels), self.labels, truth, counted)
        weighted = "sample_weight" in parameters_of(self.function or scorer)
        self.weights = {"sample_weight": rows.weights} if weighted and rows.weights is not None else {}

    def __call__(self) -> float:
        """The larger, the better. A ValueError of the scorer says that it is one of the scorer."""
        rows = self.rows
        try:
            return float(self.scorer(self._plain(), rows.X, rows.labels, **self.weights))
        except ValueError as error:
            raise self._error(str(error)) from error

    def check(self) -> None:
        """ValueError if there is no score on these rows, whatever the network."""
        score = self()
        if self.lacking and not np.isfinite(score):
            raise self._error(f"got {score}")

    def _plain(self) -> Any:
        """The estimator for checked rows: without names of columns, with dense labels."""
        e, labels = self.estimator, self.labels
        plain = object.__new__(type(e))
        vars(plain).update({k: v for k, v in vars(e).items() if k not in ("feature_names_in_", "_sparse_y")})
        if self.function is not None and labels is not None and labels.several and len(labels.classes) == 2:
            plain.classes_ = [np.array([0, 1])] * 2  # scorers would take two labels for two classes
        return plain

    def _error(self, why: str) -> ValueError:
        return ValueError(f"scoring={self.estimator.scoring!r} has no value on the validation set{self.lacking}: {why}")


def lacking(labels: Labels, truth: Array) -> str:
    """What the validation set lacks, for an error. truth: whether each of its examples has each class or label."""
    absent = ~truth.any(axis=0)
    if labels.several:
        absent |= truth.all(axis=0)
    names = ", ".join(map(str, labels.classes[absent].tolist()))
    if not names:
        return ""
    return f", where label {names} never differs" if labels.several else f", where class {names} does not occur"


def with_labels(scorer: Any, labels: Labels) -> Any:
    """The scorer with the classes of the training data, if its function takes them and looks at a column for each.

    Functions of predicted classes take their means over those that occur: they get none.
    """
    if labels.several or scorer._response_method == "predict":
        return scorer
    handed = {"labels": labels.classes} | ({"pos_label": labels.classes[-1]} if labels.kind == "binary" else {})
    known = parameters_of(scorer._score_func)
    handed = {name: value for name, value in handed.items() if name in known and known[name].default is None}
    return changed(scorer, _kwargs=handed | scorer._kwargs)


def where_defined(scorer: Any, labels: Labels, truth: Array, counted: Array) -> Any:
    """The scorer; if it is roc_auc_score of each class against the rest, the mean over those where it is defined.

    They have examples and counterexamples among those counted. scikit-learn itself leaves out the others from the mean
    over pairs of classes, and from the weighted mean.
    """
    defined = counted.any(axis=0) & ~counted.all(axis=0)
    against_rest = labels.several or scorer._kwargs.get("multi_class") == "ovr"
    if scorer._score_func is not roc_auc_score or not against_rest or defined.all() or not defined.any():
        return scorer

    def over_defined(_: Array, scores: Array, **options: Any) -> Any:
        return roc_auc_score(truth[:, defined], scores[:, defined], **options)

    return changed(scorer, _score_func=over_defined)


def changed(scorer: Any, **attributes: Any) -> Any:
    """A copy with these attributes."""
    scorer = copy.copy(scorer)
    vars(scorer).update(attributes)
    return scorer


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """By name; none of functions written in C that do not tell."""
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError:
        return {}
