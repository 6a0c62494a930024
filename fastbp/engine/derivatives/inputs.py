"""Jacobians and Hessians in the inputs, from Python: arrays out, pieces of the rows on several threads."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import workspace
from fastbp.core.derivatives import hessian, jacobian, jacobian_by_inputs
from fastbp.core.ir.kernel import Kernel, lanes_of
from fastbp.engine.derivatives.common import memory_for
from fastbp.engine.derivatives.table import derivative_table
from fastbp.engine.inference import pieces
from fastbp.engine.network_table import address
from fastbp.engine.team import each
from fastbp.network import Network

Array = NDArray[Any]


ELEMENT = 8
"""What activations, slopes and copies of a unit cost beside its sums, in multiply-adds."""


def jacobian_of(network: Network, size: int) -> tuple[Kernel, int]:
    """The kernel of the Jacobian that takes the fewest operations, and its directions: by the network alone.

    Sums with their lanes over the outputs take whole vectors; where some lanes would be empty, the deltas of all
    examples are better, unless there are few examples and at least half of the lanes are used.
    """
    n_in, n_out, lanes = network.n_inputs, network.n_outputs, lanes_of(size)
    layers, softmax, elements = list(pairwise(network.sizes)), network.output == "softmax", sum(network.sizes[1:])
    whole = n_out % lanes == 0
    of_inputs = n_in * (sum(below * -(-above // lanes) * lanes for below, above in layers[1:]) + ELEMENT * elements)
    of_outputs = n_out * (sum(below * above for below, above in layers[: -1 if whole else None]) + ELEMENT * elements)
    if of_inputs < of_outputs:
        return jacobian_by_inputs.by_inputs(size, softmax), n_in
    if whole:
        return jacobian.by_outputs(size, softmax), n_out
    return (jacobian.by_deltas(size) if 2 * n_out <= lanes else jacobian.by_outputs_or_deltas(size, softmax)), n_out


def input_jacobian(network: Network, theta: Array, X: Array) -> Array:
    """∂y_nj/∂x_nk (n, n_out, n_in)."""
    net, (kernel, directions) = derivative_table(network, theta.itemsize), jacobian_of(network, theta.itemsize)
    out = np.empty((len(X), network.n_outputs, network.n_inputs), theta.dtype)
    operations = 2.0 * (1 + directions) * network.n_parameters
    return filled(out, net, theta, X, kernel, (directions, 1), operations)


def input_hessian(network: Network, theta: Array, X: Array) -> Array:
    """∂²y_nj/∂x_nk∂x_nm (n, n_out, n_in, n_in)."""
    net = derivative_table(network, theta.itemsize, second=True)
    kernel, n_in = hessian.input_hessian(theta.itemsize, network.output == "softmax"), network.n_inputs
    out = np.empty((len(X), network.n_outputs, n_in, n_in), theta.dtype)
    of_layers = network.n_outputs * (network.n_parameters + n_in * n_in * sum(network.sizes[1:]))
    operations = 2.0 * (of_layers + (1 + n_in) * network.n_parameters)
    return filled(out, net, theta, X, kernel, (n_in, 2), operations)


def filled(
    out: Array, net: Array, theta: Array, X: Array, kernel: Kernel, sizes: tuple[int, int], operations: float
) -> Array:
    """out, filled by a kernel for each piece of the rows; sizes: directions and orders of its workspace."""
    few = int(len(X) <= workspace.FEW)

    def part(begin: int, end: int) -> None:
        memory = memory_for(net, end - begin, *sizes)
        kernel.ctypes(
            address(net), address(theta), address(out[begin:end]), address(X[begin:end]), end - begin, few, memory[1]
        )  # fmt: skip

    each(part, pieces(net, len(X), operations))
    return out
