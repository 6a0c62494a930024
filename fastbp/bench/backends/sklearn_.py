"""scikit-learn's MLPClassifier and MLPRegressor: a call of partial_fit is an epoch.

Two classes are one sigmoid output there, not two of a softmax: the same function with less work.
"""

from typing import Any

import numpy as np

from fastbp.bench.backends import Task
from fastbp.bench.cases import Array, Case, Layers, begins_of_steps

packages = ("sklearn",)


def set_threads(n: int | None) -> None:
    """Does nothing: the parent process has set the environment variables."""


def version() -> str:
    import sklearn

    return str(sklearn.__version__)


def estimator(case: Case, X: Array, y: Array, layers: Layers) -> Any:
    """Fitted to one batch, which allocates its arrays, then reset to the initial parameters and a new optimizer."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    settings: dict[str, Any] = {
        "hidden_layer_sizes": case.sizes[1:-1],
        "activation": case.hidden,
        "solver": "adam" if case.optimizer == "adam" else "sgd",
        "learning_rate_init": case.learning_rate,
        "momentum": case.momentum,
        "nesterovs_momentum": False,
        "batch_size": case.batch,
        "shuffle": False,
        "alpha": 0.0,
    }
    if case.loss == "cross_entropy":
        classes = np.arange(case.sizes[-1])
        model = MLPClassifier(**settings).partial_fit(X[: case.batch], y[: case.batch], classes=classes)
    else:  # its loss is half of the squared error
        settings["learning_rate_init"] *= 1 if case.optimizer == "adam" else 2
        model = MLPRegressor(**settings).partial_fit(X[: case.batch], y[: case.batch])
    w, b = layers[-1]
    if case.loss == "cross_entropy" and len(b) == 2:
        layers = [*layers[:-1], (w[1:] - w[:1], b[1:] - b[:1])]
    model.coefs_ = [np.array(w.T, order="C") for w, _ in layers]
    model.intercepts_ = [b.copy() for _, b in layers]
    del model._optimizer
    return model


def outputs(case: Case, model: Any, X: Array) -> Any:
    return model.predict_proba(X) if case.loss == "cross_entropy" else model.predict(X)


def fit(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    model = estimator(case, X, y, layers)

    def run() -> None:
        for _ in range(case.epochs):
            model.partial_fit(X, y)

    return Task(run, lambda: outputs(case, model, X))


def step(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    model = estimator(case, X, y, layers)

    def run() -> None:
        for n in begins_of_steps(case):
            model.partial_fit(X[n : n + case.batch], y[n : n + case.batch])

    return Task(run, lambda: outputs(case, model, X))


def predict(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    """Predictions for X: probabilities of all classes from a classifier."""
    train = np.resize(X, (case.sizes[-1], case.sizes[0]))
    targets = np.arange(case.sizes[-1]) if case.loss == "cross_entropy" else np.resize(y, (len(train), y.shape[1]))
    model = estimator(case, train, targets, layers)

    def run() -> None:
        for _ in range(case.steps):
            outputs(case, model, X)

    return Task(run, lambda: outputs(case, model, X))


tasks = {"fit": fit, "step": step, "bulk": predict, "row": predict}
