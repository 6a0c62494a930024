"""What a network computes at given parameters: outputs, costs, gradients, the table of its compiled form."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import gradcheck, metrics, plots
from fastbp.core import slots
from fastbp.core.workspace import largest_size
from fastbp.derivatives import check_activations
from fastbp.engine import inference
from fastbp.engine.derivatives import embedded
from fastbp.engine.derivatives.curvature import check as check_curvature
from fastbp.engine.network_table import aligned_zeros, diagnostic_table, embedded_table
from fastbp.engine.problem import Problem
from fastbp.engine.trace import Backward, Forward, Trace
from fastbp.inputs.arrays import as_inputs, as_vector, as_whole_inputs
from fastbp.inputs.checks import boolean, positive_int
from fastbp.inputs.classes import classes_of
from fastbp.inputs.targets import smoothing_of
from fastbp.network import Network
from fastbp.optimizers import Adam, Optimizer

Array = NDArray[Any]
MOST_ROWS = 1 << 40  # of a workspace: its size is a number of 63 bits


def parameters_at(parameters: Array, theta: ArrayLike | None) -> Array:
    """The caller's theta, checked; None: the model's parameters."""
    return parameters if theta is None else as_vector(theta, parameters.size, parameters.dtype, "theta")


def predict(network: Network, parameters: Array, X: ArrayLike, theta: ArrayLike | None) -> Array:
    """See `Model.predict`. Takes no Problem: for single rows the time to build one counts."""
    inputs = as_inputs(X, network.n_inputs, parameters.dtype, finite=False)
    outputs, finite = inference.predict(network, parameters_at(parameters, theta), inputs)
    if not finite:
        as_inputs(X, network.n_inputs, parameters.dtype)  # says where
    return outputs


def evaluate(
    problem: Problem, theta: Array, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> dict[str, float]:
    """See `Model.evaluate`."""
    network, loss = problem.network, problem.loss
    examples = problem.examples(X, y, sample_weight)
    cost = {"cost": problem.cost(theta, examples)}
    if not metrics.has_classes(network, loss):
        return cost
    outputs, _ = inference.predict(network, theta, examples.X)
    hits = metrics.hits(network, loss, examples.y, outputs)
    return cost | {"accuracy": float(np.average(np.asarray(hits), weights=examples.weights))}


def value_and_gradient(
    problem: Problem,
    parameters: Array,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    theta: ArrayLike | None,
) -> tuple[float, Array]:
    """See `Model.value_and_gradient`."""
    theta = parameters_at(parameters, theta)
    return problem.value_and_gradient(theta, problem.examples(X, y, sample_weight, whole=True))


def forward(problem: Problem, theta: Array, X: ArrayLike) -> Forward:
    """See `Model.forward`."""
    network, dtype = problem.network, problem.dtype
    X = as_whole_inputs(X, network.n_inputs, dtype)
    if network.scaling is not None:
        X = network.scaling.inputs(X)
    trace = Trace(diagnostic_table(network, dtype.itemsize, None), theta, X)
    return Forward(trace.arrays(slots.Layer.z), [X, *trace.arrays(slots.Layer.a)])


def backward(problem: Problem, theta: Array, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Backward:
    """See `Model.backward`."""
    problem = problem._replace(trainable=())
    examples = problem.scaled(problem.smoothed(problem.examples(X, y, sample_weight, whole=True)))
    net = diagnostic_table(problem.network, problem.dtype.itemsize, problem.objective(examples.y.ndim == 1))
    assert isinstance(examples.X, np.ndarray)
    trace = Trace(net, theta, examples.X)
    trace.backward(problem.network, examples, 1 / examples.total_weight if problem.mean else 1.0)
    return Backward(trace.arrays(slots.Layer.dz), trace.arrays(slots.Layer.da))


def check_gradient(
    problem: Problem, parameters: Array, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> gradcheck.GradientCheck:
    """See `Model.check_gradient`."""
    theta = as_vector(parameters, parameters.size, parameters.dtype, "parameters").astype(np.float64)
    problem = problem._replace(dtype=theta.dtype)
    examples = problem.examples(X, y, sample_weight, whole=True)
    return gradcheck.check(lambda at: problem.value_and_gradient(at, examples), theta)


def plot(problem: Problem, outputs_for: Any, X: ArrayLike, y: ArrayLike, axes: Any) -> Any:
    """See `Model.plot`; outputs_for: the function of X that predicts."""
    examples = problem.examples(X, y, None)
    classes = classes_of(examples.y, problem.network.output, problem.loss)
    return plots.predictions(examples.y, outputs_for(X), classes, axes)


def compiled(
    problem: Problem, derivatives: Sequence[object], classes: bool | None, optimizer: Optimizer
) -> NDArray[np.int64]:
    """See `Model.compiled`."""
    loss, network, size = problem.loss, problem.network, problem.dtype.itemsize
    names = names_of(problem, derivatives)
    has_indices = loss == "cross_entropy"
    if classes is not None and boolean("classes", classes) and not has_indices:
        raise ValueError(f"classes must be False or None for the loss {loss!r}, got {classes}")
    objective = problem.objective(has_indices if classes is None else bool(classes))
    smoothing = None
    if problem.label_smoothing:
        smoothing = smoothing_of(loss, problem.label_smoothing, network.n_outputs)
    net = embedded_table(network, size, objective, smoothing)
    rows = replace(objective, classes=objective.classes and smoothing is None)
    return embedded.with_derivatives(net, names, network, rows, optimizer) if names else net


def workspace(problem: Problem, rows: int, derivatives: Sequence[object]) -> Array:
    """See `Model.workspace`."""
    loss, network, size = problem.loss, problem.network, problem.dtype.itemsize
    names, objective = names_of(problem, derivatives), problem.objective(loss == "cross_entropy")
    net = compiled(problem, (), None, Adam())
    net[slots.Net.target_row] = network.n_outputs  # enough for class indices, too
    if positive_int("rows", rows) > MOST_ROWS:
        raise ValueError(f"rows must be at most {MOST_ROWS}, got {rows}")
    of_names = embedded.workspace_size(names, network, size, objective, rows) if names else 0
    return aligned_zeros(max(int(largest_size(net, rows)), of_names), problem.dtype)


def names_of(problem: Problem, derivatives: Sequence[object]) -> tuple[str, ...]:
    """Checked names of derivatives that the problem's network has."""
    names = embedded.checked(derivatives)
    for name in names:
        if name in embedded.SECOND:
            check_activations(problem.network, name, "second")
        if name in embedded.CURVATURE:
            check_curvature(problem.network, problem.loss, name.removesuffix("_vector_product"))
    return names
