"""All z, a, dz and da of some examples as plain arrays: for looking inside, not for speed."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.core.layers import forward_backward
from fastbp.core.slots import HEADER, LAYER_SLOTS, Layer, Net
from fastbp.core.workspace import padded
from fastbp.engine.job import Examples
from fastbp.engine.layer_tables import stride_of
from fastbp.engine.network_table import aligned_zeros
from fastbp.network import Network

Array = NDArray[Any]


class Forward(NamedTuple):
    """z: one (n, n_out) array a layer; a: the same, behind a[0], the inputs."""

    z: list[Array]
    a: list[Array]


class Backward(NamedTuple):
    """dz and da: ∂C/∂z and ∂C/∂a of the full cost C, one (n, n_out) array a layer."""

    dz: list[Array]
    da: list[Array]


class Trace:
    """The activations of all layers for n examples, each in separate memory (the diagnostic table `net`)."""

    def __init__(self, net: NDArray[np.int64], theta: Array, X: Array) -> None:
        self.net, self.theta, self.n = net, theta, len(X)
        self.capacity = int(padded(self.n))
        size = theta.itemsize
        self.work = aligned_zeros(self.capacity * int(net[Net.row]), theta.dtype)
        self.zeros = aligned_zeros(int(net[Net.widest]), theta.dtype)
        forward_backward.forward(size).ctypes(
            net.ctypes.data, theta.ctypes.data, 0, self.zeros.ctypes.data, X.ctypes.data, X.shape[1], 0,
            self.work.ctypes.data, self.capacity, 0, self.n, 1,
        )  # fmt: skip

    def backward(self, network: Network, examples: Examples, scale: float) -> None:
        """Fill in dz and da; scale is the factor of each example's w_n C_n in the cost."""
        dtype = self.theta.dtype
        transposed = [np.zeros(0, dtype)]
        for w in network.weights(self.theta)[1:]:
            block = np.zeros((w.shape[0], stride_of(w.shape[1], dtype.itemsize)), dtype)
            block[:, : w.shape[1]] = w
            transposed.append(block.ravel())
        wt = np.concatenate(transposed)
        costs, spare = np.zeros(self.n, dtype), np.zeros(self.n, dtype)
        weights = np.ones(self.n, dtype) if examples.weights is None else examples.weights
        forward_backward.backward(dtype.itemsize).ctypes(
            self.net.ctypes.data, self.theta.ctypes.data, wt.ctypes.data, 1, self.zeros.ctypes.data,
            costs.ctypes.data, spare.ctypes.data,
            examples.y.ctypes.data, weights.ctypes.data, 1, scale, self.work.ctypes.data, self.capacity, 0, self.n,
        )  # fmt: skip

    def arrays(self, slot: int) -> list[Array]:
        """z, a, dz or da (the slot of the layer's offset) of each layer."""
        found = []
        end = HEADER + int(self.net[Net.layers]) * LAYER_SLOTS
        for layer in self.net[HEADER:end].reshape(-1, LAYER_SLOTS):
            stride, begin = int(layer[Layer.stride]), int(layer[slot]) * self.capacity
            rows = self.work[begin : begin + self.n * stride].reshape(self.n, stride)
            found.append(rows[:, : int(layer[Layer.n_out])].copy())
        return found
