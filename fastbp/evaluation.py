"""Predictions, and how good they are: cost and accuracy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import embed, workspace
from fastbp.core import table as slots
from fastbp.job import Examples
from fastbp.network import Network
from fastbp.program import aligned_zeros, inference_table

Array = NDArray[Any]

PIECE_FLOPS = 1e9  # of an evaluation, between two looks at Ctrl-C


def predict(network: Network, theta: Array, X: Array) -> Array:
    """The outputs for checked inputs X: a new (n, n_outputs) array."""
    out = np.empty((len(X), network.n_outputs), theta.dtype)
    net = inference_table(network, theta.itemsize)
    work = aligned_zeros(int(workspace.inference_size(net)), theta.dtype)
    embed.predict(theta.itemsize).ctypes(
        net.ctypes.data, theta.ctypes.data, out.ctypes.data, X.ctypes.data, len(X), work.ctypes.data
    )
    return out


def total_cost(
    net: NDArray[np.int64], theta: Array, examples: Examples, flops: float, job: NDArray[np.int64] | None = None
) -> float:
    """Σ_n w_n C_n; net is a training table, flops the work for one example. NaN if `job` is told to stop meanwhile.

    Goes by pieces that the network alone cuts.
    """
    kernel = embed.evaluate(theta.itemsize).ctypes
    work = aligned_zeros(int(workspace.inference_size(net)), theta.dtype)
    block = int(net[slots.NET_BLOCK])
    piece = block * max(1, int(PIECE_FLOPS / (block * flops)))
    total = 0.0
    for begin in range(0, len(examples), piece):
        if job is not None and job[slots.JOB_STOP]:
            return np.nan
        X, y = examples.X[begin : begin + piece], examples.y[begin : begin + piece]
        weights = None if examples.weights is None else examples.weights[begin : begin + piece]
        total += kernel(
            net.ctypes.data, theta.ctypes.data, X.ctypes.data, y.ctypes.data,
            0 if weights is None else weights.ctypes.data, len(X), work.ctypes.data,
        )  # fmt: skip
    return total


def accuracy(network: Network, theta: Array, loss: str, examples: Examples) -> float | None:
    """The weighted share of examples classified right; None where the outputs are not classes.

    softmax: the largest output; sigmoid with binary_cross_entropy: every output on its target's side of 0.5.
    """
    outputs = predict(network, theta, examples.X)
    if network.output == "softmax":
        y = examples.y if examples.y.ndim == 1 else examples.y.argmax(axis=1)
        hits = outputs.argmax(axis=1) == y
    elif network.output == "sigmoid" and loss == "binary_cross_entropy":
        hits = np.all((outputs >= 0.5) == (examples.y >= 0.5), axis=1)
    else:
        return None
    return float(np.average(hits, weights=examples.weights))
