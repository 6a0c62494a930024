"""Taylor coefficients along directions, from Python: arrays out, pieces of the rows on several threads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import workspace
from fastbp.core.derivatives import taylor as kernels
from fastbp.engine.derivatives.common import memory_for, shards_of, summed
from fastbp.engine.derivatives.table import derivative_table
from fastbp.engine.inference import pieces
from fastbp.engine.network_table import address
from fastbp.engine.team import each
from fastbp.network import Network

Array = NDArray[Any]


def taylor(network: Network, theta: Array, X: Array, V: Array, order: int) -> list[Array]:
    """y (n, n_out), and y' and of order 2 y'' (d, n, n_out) along V (d, n, n_in)."""
    net, kernel = derivative_table(network, theta.itemsize, second=order == 2), kernels.taylor(theta.itemsize, order)
    y = np.empty((len(X), network.n_outputs), theta.dtype)
    primed = [np.empty((len(V), *y.shape), theta.dtype) for _ in range(order)]

    def part(begin: int, end: int) -> None:
        memory = memory_for(net, end - begin, 1, order)
        kernel.ctypes(
            address(net), address(theta), address(y[begin:end]), address(primed[0]) + begin * y.strides[0],
            address(primed[-1]) + begin * y.strides[0], address(X[begin:end]), address(V) + begin * X.strides[0],
            end - begin, len(V), len(X), memory[1],
        )  # fmt: skip

    each(part, pieces(net, len(X), 2.0 * (1 + order * len(V)) * network.n_parameters))
    return [y, *primed]


def taylor_vjp(network: Network, theta: Array, X: Array, V: Array, cotangents: Sequence[Array | None]) -> Array:
    """The gradient in theta of Σ c y + Σ c' y' + Σ c'' y'', of order 1 without c''."""
    order, size = len(cotangents) - 1, theta.itemsize
    net = derivative_table(network, size, second=True, taylor=order == 2)
    kernel = kernels.taylor_vjp(size, order)
    row, few = network.n_outputs * size, int(len(X) <= workspace.FEW)
    starts = [0 if c is None else address(c) for c in (*cotangents, None)[:3]]

    def part(begin: int, end: int, dtheta_at: int) -> None:
        memory = memory_for(net, end - begin, 1, order)
        kernel.ctypes(
            address(net), address(theta), dtheta_at, address(X[begin:end]),
            address(V) + begin * X.strides[0], *(start and start + begin * row for start in starts),
            end - begin, len(V), len(X), 1, few, memory[1],
        )  # fmt: skip

    return summed(shards_of(net, len(X)), theta, part)
