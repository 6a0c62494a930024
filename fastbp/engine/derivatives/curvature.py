"""Products of the cost's second derivatives with vectors, from Python."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.activations import Activation
from fastbp.core import workspace
from fastbp.core.derivatives import curvature
from fastbp.custom_loss import Loss
from fastbp.engine.derivatives.common import memory_for, shards_of, summed
from fastbp.engine.derivatives.table import derivative_table
from fastbp.engine.job import Examples
from fastbp.engine.network_table import Objective, address
from fastbp.losses import AnyLoss, name_of
from fastbp.network import Network

Array = NDArray[Any]
KERNELS = {"hessian": curvature.hessian_vector_product, "gauss_newton": curvature.gauss_newton_vector_product}
NOT_CONVEX = ("absolute_error", "quantile", "hinge", "gaussian_nll")
"""Losses without a Gauss-Newton matrix: ∂²c/∂a² is 0, or a matrix that is not positive."""


def check(network: Network, loss: AnyLoss, kind: str) -> None:
    """ValueError, with the name, for a loss or an activation of which a second derivative is missing."""
    if isinstance(loss, Loss) and loss.second is None:
        raise ValueError(
            f"{kind}_vector_product needs ∂²c/∂a² of the loss, got {loss.name!r} without: give fastbp.Loss(second=...)"
        )
    if kind == "gauss_newton" and name_of(loss) in NOT_CONVEX:
        raise ValueError(
            f"gauss_newton_vector_product needs a loss that is not one of {', '.join(NOT_CONVEX)}, "
            f"got loss {name_of(loss)!r}"
        )
    for activation in network.activations if kind == "hessian" else ():
        if isinstance(activation, Activation) and activation.second is None:
            raise ValueError(
                f"hessian_vector_product needs σ'' of every activation, got {activation.name!r} without: "
                "give fastbp.Activation(second=...)"
            )


def vector_product(
    network: Network, objective: Objective, theta: Array, examples: Examples, v: Array, kind: str
) -> Array:
    """The Hessian of the cost, penalties included, or its Gauss-Newton matrix, times v.

    kind: a key of KERNELS. 0 in frozen layers, as the cost does not depend on what training cannot change.
    """
    scale, examples = 1.0 / examples.total_weight if objective.mean else 1.0, present(examples)
    X, rows, size = examples.X, len(examples), theta.itemsize
    assert isinstance(X, np.ndarray)
    net = derivative_table(network, size, objective, second=kind == "hessian", curvature=True)
    few, kernel = int(rows <= workspace.FEW), KERNELS[kind](size).ctypes

    def part(begin: int, end: int, out_at: int) -> None:
        memory = memory_for(net, end - begin, 1, 1)
        weights = 0 if examples.weights is None else address(examples.weights[begin:end])
        kernel(
            address(net), address(theta), out_at, address(X[begin:end]),
            address(examples.y[begin:end]), address(v), weights, end - begin, 1, few, scale, memory[1],
        )  # fmt: skip

    product = summed(shards_of(net, rows), theta, part)
    if objective.l2:
        curvature.add_penalty(size).ctypes(address(net), address(product), address(v))
    return product


def present(examples: Examples) -> Examples:
    """The examples whose weight is not 0."""
    if examples.weights is None or examples.weights.all():
        return examples
    return examples.take(np.flatnonzero(examples.weights))
