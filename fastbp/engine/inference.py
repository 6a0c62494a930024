"""Predictions and total costs. Large ones go to several threads, piece by piece."""

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import embedded, workspace
from fastbp.core.slots import Job, Net
from fastbp.engine.job import Examples
from fastbp.engine.network_table import address, aligned_zeros, inference
from fastbp.engine.team import cut, each
from fastbp.inputs.sources import PIECE_BYTES, Source, between
from fastbp.network import Network

Array = NDArray[Any]

FEWEST_FLOPS, MOST_FLOPS = 28e6, 1e9
"""Work of a piece, in floating-point operations: at least what pays for a thread; at most what Ctrl-C can wait for."""

ALONE_FLOPS = 60e6
"""Work that one thread does in about the time that two need, of which one has to be woken."""

PIECES = 16
"""The number of pieces of work in between, so that the threads end together."""

UNIT = 24
"""Rows of the tallest tile, so that only the last piece has a remainder."""

PACKED_ROWS = 256
"""Rows from which on a copy of the weights costs little beside their sums."""

_memory = threading.local()
NOTHING = np.empty(0, np.uint8), 0


def scratch(size: int) -> tuple[Array, int]:
    """A workspace of at least this many bytes and its address: this thread's, until the thread's next call.

    The caller holds the array while it uses the address: a signal handler may call this too.
    """
    memory: tuple[Array, int] = getattr(_memory, "kept", NOTHING)
    if memory[0].size < size:
        array = aligned_zeros(size, np.uint8)
        memory = _memory.kept = array, address(array)
    return memory


def pieces(net: NDArray[np.int64], rows: int, flops: float) -> list[tuple[int, int]]:
    """Begin and end of the pieces of `rows` rows, each of `flops` operations; depends on network and rows alone."""
    total = rows * flops
    work = total if total < ALONE_FLOPS else min(max(total / PIECES, FEWEST_FLOPS), MOST_FLOPS)
    most = PIECE_BYTES / int(net[Net.inputs] * net[Net.size])
    piece = max(int(net[Net.block]), min(work / flops, most))
    return cut(rows, math.ceil(piece / UNIT) * UNIT)


def packed_weights(net: NDArray[np.int64], theta: Array, rows: int) -> Array | None:
    """The copy of wide and odd layers' weights that the forward sums read; None where it does not pay."""
    count = int(net[Net.packed])
    if not count or rows < PACKED_ROWS:
        return None
    out = aligned_zeros(count, theta.dtype)
    embedded.packed_weights(theta.itemsize).ctypes(address(net), address(out), address(theta))
    return out


def predict(
    network: Network, theta: Array, X: Array | Source, job: NDArray[np.int64] | None = None
) -> tuple[Array, bool]:
    """The outputs for X, a new (n, n_outputs) array, and whether all of X is finite.

    Not all filled if another thread sets the job's stop.
    """
    net = inference(network, theta.itemsize)
    out = np.empty((len(X), network.n_outputs), theta.dtype)
    theta_at, out_at = address(theta), address(out)
    if len(X) == 1 and isinstance(X, np.ndarray):  # the call's overhead counts
        memory = scratch(net.scratch)
        return out, not net.kernel(net.address, theta_at, 0, out_at, address(X), 1, memory[1])
    weights = packed_weights(net.net, theta, len(X))
    packed_at = 0 if weights is None else address(weights)
    out_row = network.n_outputs * theta.itemsize

    def part(begin: int, end: int) -> bool:
        if job is not None and job[Job.stop]:
            return True
        x, memory = between(X, begin, end, theta.dtype), scratch(net.scratch)
        out_part = out_at + begin * out_row
        return not net.kernel(net.address, theta_at, packed_at, out_part, address(x), end - begin, memory[1])

    return out, all(each(part, pieces(net.net, len(X), 2.0 * network.n_parameters)))


def total_cost(net: NDArray[np.int64], theta: Array, examples: Examples, job: NDArray[np.int64] | None = None) -> float:
    """Σ_n w_n C_n; net is a training table. NaN if another thread sets the job's stop meanwhile."""
    kernel = embedded.evaluate(theta.itemsize).ctypes
    size = int(workspace.inference_size(net)) * theta.itemsize
    packed = packed_weights(net, theta, len(examples))
    packed_at = 0 if packed is None else address(packed)

    def part(begin: int, end: int) -> float:
        if job is not None and job[Job.stop]:
            return np.nan
        X, y = between(examples.X, begin, end, theta.dtype), examples.y[begin:end]
        weights = 0 if examples.weights is None else address(examples.weights[begin:end])
        memory = scratch(size)
        return float(kernel(
            address(net), address(theta), packed_at, address(X), address(y), weights, len(X), memory[1]
        ))  # fmt: skip

    return sum(each(part, pieces(net, len(examples), 2.0 * theta.size)))
