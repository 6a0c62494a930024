"""Gradients of one example at a time, from Python."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import workspace
from fastbp.core.derivatives import example_gradients
from fastbp.core.ir.kernel import Kernel
from fastbp.engine.derivatives.common import memory_for
from fastbp.engine.derivatives.table import derivative_table
from fastbp.engine.inference import pieces
from fastbp.engine.job import Examples
from fastbp.engine.network_table import Objective, address
from fastbp.engine.team import each
from fastbp.network import Network

Array = NDArray[Any]


def gradients(network: Network, objective: Objective, theta: Array, examples: Examples) -> Array:
    """∂C_n/∂θ of each example (n, parameters)."""
    out = np.empty((len(examples), theta.size), theta.dtype)
    return of_examples(example_gradients.example_gradients(theta.itemsize), network, objective, theta, examples, out)


def norms(network: Network, objective: Objective, theta: Array, examples: Examples) -> Array:
    """The Euclidean norm of ∂C_n/∂θ of each example (n,)."""
    out = np.empty(len(examples), theta.dtype)
    kernel = example_gradients.example_gradient_norms(theta.itemsize)
    return of_examples(kernel, network, objective, theta, examples, out)


def of_examples(
    kernel: Kernel, network: Network, objective: Objective, theta: Array, examples: Examples, out: Array
) -> Array:
    """What the kernel overwrites `out` by, a row for each example."""
    net, X, few = derivative_table(network, theta.itemsize, objective), examples.X, int(len(examples) <= workspace.FEW)
    assert isinstance(X, np.ndarray)

    def part(begin: int, end: int) -> None:
        memory = memory_for(net, end - begin, 1, 0)
        kernel.ctypes(
            address(net), address(theta), address(out[begin:end]), address(X[begin:end]),
            address(examples.y[begin:end]), end - begin, few, memory[1],
        )  # fmt: skip

    each(part, pieces(net, len(X), 7.0 * network.n_parameters))
    return out


def parameter_jacobian(network: Network, theta: Array, X: Array, few: bool) -> Array:
    """∂y_nj/∂θ (n, n_out, parameters); few: whether the whole call has few rows."""
    net, kernel = derivative_table(network, theta.itemsize), example_gradients.parameter_jacobian(theta.itemsize).ctypes
    out = np.empty((len(X), network.n_outputs, theta.size), theta.dtype)

    def part(begin: int, end: int) -> None:
        memory = memory_for(net, end - begin, network.n_outputs, 1)
        kernel(
            address(net), address(theta), address(out[begin:end]), address(X[begin:end]), end - begin, few, memory[1]
        )

    each(part, pieces(net, len(X), 7.0 * network.n_parameters * network.n_outputs))
    return out


def jacobian_blocks(network: Network, theta: Array, X: Array, rows: int) -> Iterator[Array]:
    """`parameter_jacobian` in blocks of at most `rows` rows, reading theta when a block is made."""
    few = len(X) <= workspace.FEW
    return (parameter_jacobian(network, theta, X[at : at + rows], few) for at in range(0, len(X), rows))
