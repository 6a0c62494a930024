"""From a Network to the int64 table with which core/derivatives computes: z, a, dz and da have separate memory."""

import functools
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastbp.core.derivatives import loss_second, second_order
from fastbp.core.derivatives.taylor import adjoint
from fastbp.core.layers import forward_backward, scaling
from fastbp.core.matmul import few_rows, gemm, transpose
from fastbp.core.slots import Layer, Net
from fastbp.custom_loss import Loss
from fastbp.engine.layer_tables import fill_activations, fill_layout, fill_sums, stride_of
from fastbp.engine.network_table import Objective, common_header, empty_table, freeze, frozen
from fastbp.losses import kernel_of, name_of, parameters_of
from fastbp.network import Network


@functools.lru_cache(maxsize=64)
def derivative_table(
    network: Network,
    size: int,
    objective: Objective | None = None,
    *,
    second: bool = False,
    taylor: bool = False,
    curvature: bool = False,
) -> NDArray[np.int64]:
    """The table for numbers of `size` bytes; without an objective for what needs no loss.

    second, taylor: with these kernels of all layers; curvature: with the loss's second derivatives.
    """
    net, layers = empty_table(network, size)
    row = fill_layout(network, layers, size, training=True, keep=True)
    layers[:, Layer.packed] = -1
    header = common_header(network, size, row) | fill_sums(network, layers, size) | {Net.length: len(net)}
    fill_activations(network, layers, size, training=True, keep=True, fused=False)
    header |= pulls(network, layers, size)
    if network.scaling is not None:
        header |= of_scaling(size)
    for layer, activation in zip(layers, network.activations, strict=True):
        if second:
            layer[Layer.second] = second_order.second(activation, size).address
        if taylor:
            layer[Layer.taylor] = adjoint(activation, size).address
    if objective is not None:
        header |= of_loss(network, size, objective)
        net.view(np.float64)[[Net.l1, Net.l2]] = objective.l1, objective.l2
        freeze(net, layers, objective.trainable)
        if curvature:
            header |= of_curvature(objective, bool(header[Net.fused]), size)
    for slot, value in header.items():
        net[slot] = value
    return frozen(net)


def pulls(network: Network, layers: NDArray[np.int64], size: int) -> dict[int, int]:
    """Entries for sums through the weights of every layer, the first one's last in the transposed weights."""
    stride = stride_of(network.n_inputs, size)
    layers[0, Layer.wt] = above = sum(n_out * stride_of(n_in, size) for n_in, n_out in pairwise(network.sizes[1:]))
    panels = gemm.panels_for(size, set(network.sizes))
    return {Net.panels + i: panel.address for i, panel in panels.items()} | {
        Net.input_stride: stride,
        Net.all_transposed: above + network.sizes[1] * stride,
        Net.transpose: transpose.transpose(size).address,
        Net.few_rows: few_rows.few_rows(size).address,
        Net.sums: forward_backward.sums(size).address,
    }


def of_scaling(size: int) -> dict[int, int]:
    """Entries for derivatives in raw units."""
    return {
        Net.multiply: scaling.multiply(size).address,
        Net.multiply_derivatives: scaling.multiply_derivatives(size).address,
    }


def of_loss(network: Network, size: int, objective: Objective) -> dict[int, int]:
    """Entries for the loss."""
    loss, fused = kernel_of(objective.loss, network.output, network.n_outputs, objective.classes, size, fused=True)
    return {
        Net.target_row: objective.targets(network),
        Net.targets: objective.targets(network),
        Net.mean: objective.mean,
        Net.fused: fused,
        Net.loss: loss.address,
    }


def of_curvature(objective: Objective, fused: bool, size: int) -> dict[int, int]:
    """Entries for ∂²c/∂a² of the loss, and for what of it the Gauss-Newton matrix takes: a user's may be negative."""
    loss = objective.loss
    if isinstance(loss, Loss):
        second, convex = (loss_second.of_function(loss.second, size, positive) for positive in (False, True))
    else:
        second = convex = loss_second.loss_second_kernel(
            name_of(loss), fused, objective.classes, size, parameters_of(loss)
        )
    return {Net.loss_second: second.address, Net.loss_convex: convex.address}
