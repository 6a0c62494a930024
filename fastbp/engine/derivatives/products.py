"""Products of the Jacobian with vectors, from Python: arrays out, pieces of the rows on several threads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import workspace
from fastbp.core.derivatives import products
from fastbp.engine.derivatives.common import memory_for, shards_of, summed
from fastbp.engine.derivatives.table import derivative_table
from fastbp.engine.inference import pieces
from fastbp.engine.network_table import address
from fastbp.engine.team import each
from fastbp.network import Network

Array = NDArray[Any]


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

    sums = 1 + (dX is not None) + (dtheta is not None)
    each(part, pieces(net, len(X), 2.0 * sums * network.n_parameters))
    return y, dy


def vjp(
    network: Network, theta: Array, X: Array, cotangent: Array, inputs: bool = True, parameters: bool = True
) -> tuple[Array | None, Array | None]:
    """Σ_j c_nj ∂y_nj/∂x_nk (n, n_in) and Σ_nj c_nj ∂y_nj/∂θ, like theta, each if asked for."""
    net, kernel, rows = derivative_table(network, theta.itemsize), products.vjp(theta.itemsize).ctypes, len(X)
    dX = np.empty((rows, network.n_inputs), theta.dtype) if inputs else None

    def part(begin: int, end: int, dtheta_at: int = 0) -> None:
        memory, few = memory_for(net, end - begin, 1, 0), int(rows <= workspace.FEW)
        dx_at = 0 if dX is None else address(dX[begin:end])
        kernel(
            address(net), address(theta), dx_at, dtheta_at, address(X[begin:end]), address(cotangent[begin:end]),
            end - begin, 1, few, memory[1],
        )  # fmt: skip

    if parameters:
        return dX, summed(shards_of(net, rows), theta, part)
    each(part, pieces(net, rows, 4.0 * network.n_parameters))
    return dX, None
