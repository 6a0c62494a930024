"""Learning values and derivatives together: the checked derivatives, and the network table of such a fit."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.activations import Activation, AnyActivation
from fastbp.core.derivatives import second_order, training
from fastbp.core.slots import Layer, Net
from fastbp.engine.derivatives.table import pulls
from fastbp.engine.job import Examples
from fastbp.engine.layer_tables import fill_activations, fill_layout, fill_sums
from fastbp.engine.network_table import (
    Objective,
    block_of,
    common_header,
    empty_table,
    freeze,
    frozen,
    training_header,
)
from fastbp.inputs.arrays import as_derivatives
from fastbp.network import Network

Array = NDArray[Any]

STRAIGHT = ("relu", "leaky_relu", "hard_sigmoid")
"""Activations of straight pieces: σ'' is 0, so that a change of the weights would not bend a derivative."""


@functools.lru_cache(maxsize=16)
def learning_table(network: Network, size: int, objective: Objective) -> NDArray[np.int64]:
    """The training table of a fit that learns derivatives: see core/derivatives/training.py."""
    net, layers = empty_table(network, size)
    row = fill_layout(network, layers, size, training=True, keep=True)
    layers[:, Layer.packed] = -1
    first_phase, passes = training.examples(size), 1 + network.n_outputs
    header = common_header(network, size, row) | fill_sums(network, layers, size)
    header |= training_header(network, size, objective, keep=False, first_phase=first_phase)
    header |= pulls(network, layers, size)
    fill_activations(network, layers, size, training=True, keep=True, fused=False)
    header |= {
        Net.length: len(net),
        Net.directions: network.n_outputs,
        Net.transposed: header[Net.all_transposed],
        Net.halves: 0,
        Net.block: block_of(network, passes * row * size, size),
        Net.flops: passes * network.flops,
    }
    for slot, value in header.items():
        net[slot] = value
    for layer, activation in zip(layers, network.activations, strict=True):
        if activation != "identity":
            layer[Layer.bend] = second_order.bend(activation, size).address
    net.view(np.float64)[[Net.l1, Net.l2]] = objective.l1, objective.l2
    freeze(net, layers, objective.trainable)
    return frozen(net)


def with_derivatives(network: Network, examples: Examples, dy: ArrayLike) -> Examples:
    """The examples with checked derivatives dy (n, n_outputs, n_inputs), in the units of the network between its
    scalings; without those of weight 0, which are absent.
    """
    for activation in network.activations:
        check_curved(activation)
    checked = as_derivatives(dy, (len(examples), network.n_outputs, network.n_inputs), examples.y.dtype)
    if network.scaling is not None:
        checked = checked * network.scaling.of_derivatives.astype(checked.dtype)
    examples = replace(examples, dy=checked)
    if examples.weights is not None and not examples.weights.all():
        return examples.take(np.flatnonzero(examples.weights))
    return examples


def check_curved(activation: AnyActivation) -> None:
    """ValueError unless the activation has a second derivative, by which derivatives are learned."""
    if isinstance(activation, Activation):
        if activation.second is None:
            raise ValueError(f"dy needs the second derivative of the activation {activation.name!r}: give it second=")
    elif activation in STRAIGHT:
        raise ValueError(
            f"dy cannot be learned by the activation {activation!r}: its pieces are straight, so that the derivatives "
            "of the network jump and their curvature is 0 in between; use a smooth one such as 'tanh', 'gelu' or 'silu'"
        )
