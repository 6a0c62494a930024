"""Metrics of predictions, in addition to the cost. Each is weighted by the examples' weights."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.history import COLUMNS
from fastbp.inputs.checks import choice
from fastbp.losses import AnyLoss, outputs_of
from fastbp.network import Network

Array = NDArray[Any]
Function = Callable[[Array, Array], float]

IGNORE = np.errstate(over="ignore", invalid="ignore")  # outputs too large for a metric make it infinite or NaN


@dataclass(frozen=True)
class Metric:
    """One metric of a fit: value(y, outputs, weights), for checked targets, predictions and weights or None."""

    name: str
    value: Callable[[Array, Array, Array | None], float]
    higher_is_better: bool | None  # None: unknown


def hits(network: Network, loss: AnyLoss, y: Array, outputs: Array) -> Array | None:
    """Which examples are classified correctly, (n,); None where the outputs are not classes.

    softmax: the largest output; sigmoid with binary_cross_entropy: every output on its target's side of 0.5; hinge:
    every output of its target's sign. An example with an output that is NaN is not correct.
    """
    known = ~np.isnan(outputs).any(axis=1)
    if network.output == "softmax" and outputs_of(loss) == 1:
        return np.asarray(known & (outputs.argmax(axis=1) == (y if y.ndim == 1 else y.argmax(axis=1))))
    if network.output == "sigmoid" and loss == "binary_cross_entropy":
        return np.asarray(known & np.all((outputs >= 0.5) == (y >= 0.5), axis=1))
    if loss == "hinge":
        return np.asarray(known & np.all((outputs >= 0) == (y >= 0), axis=1))
    return None


def has_classes(network: Network, loss: AnyLoss) -> bool:
    """Whether the outputs are classes, so that there is an accuracy."""
    return hits(network, loss, np.empty((0, 1)), np.empty((0, network.n_outputs))) is not None


@IGNORE
def mean_absolute_error(y: Array, outputs: Array, weights: Array | None) -> float:
    """The mean of |y - ŷ| over examples and outputs."""
    return float(np.average(np.abs(outputs - y.astype(np.float64)).mean(axis=1), weights=weights))


@IGNORE
def r2(y: Array, outputs: Array, weights: Array | None) -> float:
    """1 - Σ_n (y - ŷ)² / Σ_n (y - ȳ)², the mean over outputs; for constant targets 1 if predicted exactly, else 0."""
    y = y.astype(np.float64)
    residual = np.average((y - outputs) ** 2, axis=0, weights=weights)
    variance = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
    constant = variance == 0
    share = np.where(constant, residual > 0, residual / np.where(constant, 1, variance))
    return float(np.mean(1 - share))


REGRESSION = {"r2": (r2, True), "mean_absolute_error": (mean_absolute_error, False)}
NAMES = ("accuracy", *REGRESSION)


def as_metrics(metrics: Sequence[str | Function], network: Network, loss: AnyLoss, y: Array) -> tuple[Metric, ...]:
    """Metrics from names and functions, for targets like y. ValueError or TypeError if one does not apply to them."""
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise TypeError(f'metrics must be a sequence like ("accuracy",), got {metrics!r}')
    found = tuple(_metric(metric, network, loss, y) for metric in metrics)
    names = [*COLUMNS, *(metric.name for metric in found)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metrics must have distinct names other than {', '.join(COLUMNS)}, got {name!r} again")
    return found


def _metric(metric: object, network: Network, loss: AnyLoss, y: Array) -> Metric:
    if callable(metric):
        return _metric_of_function(metric)
    name = choice("metrics", metric, NAMES)
    if name == "accuracy":
        if not has_classes(network, loss):
            raise ValueError(
                "metrics: accuracy needs classes (softmax, or sigmoid with binary_cross_entropy), "
                f"got output {network.output!r} with {loss}"
            )

        def accuracy(y: Array, outputs: Array, weights: Array | None) -> float:
            return float(np.average(np.array(hits(network, loss, y, outputs), float), weights=weights))

        return Metric(name, accuracy, True)
    if y.shape[1:] != (network.n_outputs,):
        got = "class indices" if y.ndim == 1 else f"shape {y.shape}"
        raise ValueError(f"metrics: {name} needs targets of shape (n, {network.n_outputs}), got {got}")
    return Metric(name, *REGRESSION[name])


def _metric_of_function(function: Callable[..., Any]) -> Metric:
    """A metric from (y_true, y_pred) -> float, which gets sample_weight if it has a parameter of this name."""
    name = getattr(function, "__name__", type(function).__name__)
    try:
        weighted = "sample_weight" in inspect.signature(function).parameters
    except ValueError:  # some functions in C have no signature
        weighted = False

    def value(y: Array, outputs: Array, weights: Array | None) -> float:
        truth = y.astype(np.int64) if y.ndim == 1 else y
        found = function(truth, outputs, sample_weight=weights) if weighted else function(truth, outputs)
        try:
            return float(found)
        except (TypeError, ValueError):
            raise TypeError(f"metrics: {name} must return a number, got {found!r}") from None

    return Metric(name, value, getattr(function, "higher_is_better", None))
