"""Gradients of single examples against the written loops, on memory that ends, or begins, at an inaccessible page."""

import numpy as np
import pytest
import twin
from guard import Guard
from kernel_calls import DTYPES, close, run

from fastbp.core import reference_derivatives
from fastbp.core.derivatives import example_gradients
from fastbp.core.derivatives.frame import frame_size
from fastbp.engine.derivatives.table import derivative_table
from fastbp.engine.network_table import Objective
from fastbp.network import Network

SIZES = [(1, 1), (3, 17, 2), (16, 1, 33, 8), (2, 7, 64, 5)]
OBJECTIVE = Objective("half_squared_error", classes=False, mean=True)


def written(network, theta, X, cotangent):
    """∂θ of Σ_j cotangent_nj y_nj of each example, in float64, by the twin's forward and the written loop."""
    a, weights, biases = [X], network.weights(theta), network.biases(theta)
    for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = a[-1] @ w.T + b
        a.append(z if l + 1 == len(weights) else np.tanh(z))
    out, dz = np.empty((len(X), theta.size)), cotangent(a[-1])
    for l in reversed(range(len(weights))):
        n_out, n_in = weights[l].shape
        dw, db = np.empty((len(X), n_out, n_in)), np.empty((len(X), n_out))
        reference_derivatives.example_gradients(dw, db, a[l], dz)
        begin, biases_at = network.offsets[l], network.offsets[l] + n_in * n_out
        out[:, begin:biases_at] = dw.transpose(0, 2, 1).reshape(len(X), -1)
        out[:, biases_at : biases_at + n_out] = db
        dz = (dz @ weights[l]) * twin.ACTIVATIONS["tanh"].first(np.arctanh(a[l])) if l else dz
    return out


@pytest.mark.parametrize("rows", [1, 5, 300])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_kernels_write_what_the_loops_do_and_nothing_else(sizes: tuple, rows: int, size: int, guard: Guard) -> None:
    network, rng, few = Network(sizes, "tanh", "identity"), np.random.default_rng(rows), int(rows <= 4)
    dtype, n_out, count = DTYPES[size], network.n_outputs, network.n_parameters
    theta = guard.copy(rng.normal(size=count) / 3, dtype, writeable=False)
    X, y = (guard.copy(rng.normal(size=(rows, n)), dtype, writeable=False) for n in (sizes[0], n_out))
    theta8, X8, y8 = (array.astype("f8") for array in (theta, X, y))
    net = derivative_table(network, size, OBJECTIVE)
    workspace = guard.empty(int(frame_size(net, rows, 1, 0)), dtype)

    gradients = guard.empty((rows, count), dtype)
    run(example_gradients.example_gradients(size), net, theta, gradients, X, y, rows, few, workspace)
    wanted = written(network, theta8, X8, lambda a: a - y8)
    close(gradients, wanted, size)

    norms = guard.empty(rows, dtype)
    run(example_gradients.example_gradient_norms(size), net, theta, norms, X, y, rows, few, workspace)
    close(norms, np.linalg.norm(wanted, axis=1), size)

    net = derivative_table(network, size)
    workspace = guard.empty(int(frame_size(net, rows, n_out, 1)), dtype)
    jacobian = guard.empty((rows, n_out, count), dtype)
    run(example_gradients.parameter_jacobian(size), net, theta, jacobian, X, rows, few, workspace)
    for j, e in enumerate(np.eye(n_out)):
        close(jacobian[:, j], written(network, theta8, X8, lambda a, e=e: np.tile(e, (len(a), 1))), size)
