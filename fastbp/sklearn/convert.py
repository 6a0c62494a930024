"""From scikit-learn's estimators to fastbp's and back: the same parameters, and the same weights if fitted."""

import copy
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from fastbp.sklearn import networks
from fastbp.sklearn.labels import Labels

FITTED = (
    "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "t_", "n_iter_", "n_layers_",
    "n_outputs_", "out_activation_", "classes_", "n_features_in_", "feature_names_in_", "_no_improvement_count",
)  # fmt: skip
"""Fitted attributes of both, other than the weights."""

SKLEARN_ACTIVATIONS = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
"""fastbp's name of an activation -> scikit-learn's."""

SKLEARN_VALUES = {
    "solver": ("lbfgs", "sgd", "adam"),
    "learning_rate": ("constant", "invscaling", "adaptive"),
    "loss": ("squared_error", "poisson"),
}
"""Parameters for which scikit-learn has some of the values only."""


def from_sklearn(estimator: Any, kind: Any) -> Any:
    """fastbp's estimator of this kind, with the parameters of scikit-learn's, and its weights if it is fitted."""
    converted = kind(**estimator.get_params(deep=False))
    if hasattr(estimator, "coefs_"):
        copy_fitted(converted, estimator)
        if hasattr(converted, "classes_"):
            several = converted.out_activation_ == "logistic" and converted.n_outputs_ > 1
            classes = converted.classes_
            labels = Labels("multilabel-indicator", classes) if several else Labels.from_classes(classes)
            converted._set_labels(labels, estimator._label_binarizer.sparse_input_)
        converted._model()
    return converted


def to_sklearn(estimator: Any, kind: type) -> Any:
    """scikit-learn's estimator of this kind with the weights and parameters of fastbp's.

    Parameters and values that scikit-learn does not have are left out, a scaling is folded into the weights; ValueError
    if it has no such activation.
    """
    valid = kind().get_params(deep=False)
    parameters = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name in valid and (name not in SKLEARN_VALUES or value in SKLEARN_VALUES[name])
    }
    used = set(networks.hidden_activations(estimator, len(networks.hidden_sizes(estimator))))
    if len(used) > 1 or not used <= SKLEARN_ACTIVATIONS.keys():
        names = ", ".join(SKLEARN_ACTIVATIONS.values())
        raise ValueError(f"scikit-learn has one activation of {names}, got {estimator.activation!r}")
    parameters["activation"] = SKLEARN_ACTIVATIONS[used.pop()] if used else "identity"
    converted = kind(**parameters)
    if hasattr(estimator, "coefs_"):
        copy_fitted(converted, estimator)
        converted.coefs_, converted.intercepts_ = networks.without_scaling(estimator._model())
        if hasattr(estimator, "classes_"):
            several = estimator._labels.is_multilabel
            converted._label_binarizer = LabelBinarizer().fit(
                np.eye(len(estimator.classes_), dtype=int) if several else estimator.classes_
            )
            converted._label_binarizer.sparse_input_ = estimator._sparse_y
    return converted


def copy_fitted(converted: Any, estimator: Any) -> None:
    """Copy the weights and the other fitted attributes."""
    for name in (*FITTED, "coefs_", "intercepts_"):
        if hasattr(estimator, name):
            setattr(converted, name, copy.deepcopy(getattr(estimator, name)))
    converted.coefs_ = [np.array(w) for w in estimator.coefs_]
    converted.intercepts_ = [np.array(b) for b in estimator.intercepts_]
