"""Derivatives of a network from Python: arrays out, pieces of the rows on several threads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import workspace
from fastbp.core.derivatives import frame, products
from fastbp.core.slots import Net
from fastbp.engine.derivative_table import derivative_table
from fastbp.engine.inference import pieces, scratch
from fastbp.engine.network_table import address
from fastbp.engine.team import cut, each
from fastbp.network import Network

Array = NDArray[Any]


def memory_for(net: NDArray[np.int64], rows: int, directions: int, orders: int) -> tuple[Array, int]:
    """A workspace for `rows` rows and its address: see `inference.scratch`."""
    return scratch(int(frame.frame_size(net, rows, directions, orders)) * int(net[Net.size]))


def jvp(network: Network, theta: Array, X: Array, dX: Array | None, dtheta: Array | None) -> tuple[Array, Array]:
    """The outputs (n, n_out), and their derivative along the direction dX (n, n_in) in the inputs, dtheta in theta."""
    net, kernel = derivative_table(network, theta.itemsize), products.jvp(theta.itemsize).ctypes
    y, dy = (np.empty((len(X), network.n_outputs), theta.dtype) for _ in range(2))
    dtheta_at = 0 if dtheta is None else address(dtheta)

    def part(begin: int, end: int) -> None:
        dx_at = 0 if dX is None else address(dX[begin:end])
        memory = memory_for(net, end - begin, 1, 1)
        kernel(
            address(net), address(theta), address(y[begin:end]), address(dy[begin:end]), address(X[begin:end]),
            dx_at, dtheta_at, end - begin, memory[1],
        )  # fmt: skip

    each(part, pieces(net, len(X), 6.0 * network.n_parameters))
    return y, dy


def vjp(
    network: Network, theta: Array, X: Array, cotangent: Array, inputs: bool = True, parameters: bool = True
) -> tuple[Array | None, Array | None]:
    """Σ_j c_nj ∂y_nj/∂x_nk (n, n_in) and Σ_nj c_nj ∂y_nj/∂θ, like theta, each if asked for."""
    net, kernel, rows = derivative_table(network, theta.itemsize), products.vjp(theta.itemsize).ctypes, len(X)
    dX = np.empty((rows, network.n_inputs), theta.dtype) if inputs else None
    shards = int(workspace.shards_of(net, rows)) if parameters else 1
    gradients = np.empty((shards, theta.size), theta.dtype) if parameters else None

    def part(begin: int, end: int) -> None:
        memory, few = memory_for(net, end - begin, 1, 0), int(rows <= workspace.FEW)
        dx_at = 0 if dX is None else address(dX[begin:end])
        dtheta_at = 0 if gradients is None else address(gradients[begins.index(begin)])
        kernel(
            address(net), address(theta), dx_at, dtheta_at, address(X[begin:end]), address(cotangent[begin:end]),
            end - begin, 1, few, memory[1],
        )  # fmt: skip

    parts = [(rows * s // shards, rows * (s + 1) // shards) for s in range(shards)]
    if not parameters:
        parts = pieces(net, rows, 6.0 * network.n_parameters)
    begins = [begin for begin, _ in parts]
    each(part, parts)
    return dX, None if gradients is None else sum_in_order(gradients)


def sum_in_order(parts: Array) -> Array:
    """The sum over the first axis, one after the other, as kernels add shards."""
    total: Array = parts[0]
    for part in parts[1:]:
        total += part
    return total
