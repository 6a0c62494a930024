"""From a Network to the int64 table with which compiled code runs it: offsets, and addresses of its kernels.

Only the kernels that the network uses are compiled. Addresses hold for this process; tables are made anew in each.
"""

import ctypes
import functools
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.core import (
    activations,
    backprop,
    dense,
    dots,
    dropout,
    embed,
    examples,
    online,
    penalty,
    step,
    transpose,
    workspace,
)
from fastbp.core import table as slots
from fastbp.core.compile import lanes_of
from fastbp.losses import AnyLoss, kernel_of, outputs_of
from fastbp.network import Network

ALIGNMENT = 64

LINE = 64
"""Rows in the workspace are multiples of so many bytes: whole vectors."""

BLOCK_BYTES = 128 * 1024
"""Activations of the examples that pass through all layers together: they stay in the first two caches."""


MANY_WEIGHTS = 64 * 1024
"""Weights of a first layer that it costs more to move between cores than the sums of its two halves."""

NARROW_INPUTS = 24
"""Inputs from which on a few outputs are summed with the lanes over them."""


@dataclass(frozen=True)
class Objective:
    """What training minimises: the loss, whether y holds class numbers, the average or the sum over examples; and
    l1 Σ|w| + ½ l2 Σ w².
    """

    loss: AnyLoss
    classes: bool
    mean: bool
    l1: float = 0.0
    l2: float = 0.0

    def targets(self, network: Network) -> int:
        """Numbers of y for one example."""
        return 1 if self.classes else network.n_outputs // outputs_of(self.loss)


def embedded_table(network: Network, size: int, objective: Objective) -> NDArray[np.int64]:
    """A table for `fastbp.jit`: the training table, with the outputs' activation and the entry points."""
    net = training_table(network, size, objective, few=True).copy()
    net[slots.NET_NEEDED] = embed.needed(size).address
    net[slots.NET_PREDICT] = embed.predict(size).address
    net[slots.NET_GRADIENT] = embed.gradient(size).address
    inference = inference_table(network, size)
    net[-slots.LAYER_SLOTS + slots.LAYER_FORWARD] = inference[-slots.LAYER_SLOTS + slots.LAYER_FORWARD]
    return net


def stride_of(width: int, size: int) -> int:
    """Elements between rows of `width` elements, padded; not a multiple of 1 KB, whose rows share cache sets."""
    line = LINE // size
    stride = -(-width // line) * line
    return stride + line if stride * size % 1024 == 0 else stride


class Inference(NamedTuple):
    """What `predict` needs: the table and its address, the bytes of its workspace, and the kernel to call."""

    net: NDArray[np.int64]
    address: int
    scratch: int
    kernel: Any


@functools.lru_cache(maxsize=64)
def inference(network: Network, size: int) -> Inference:
    """The table for `predict` alone, for numbers of `size` bytes."""
    net = inference_table(network, size)
    return Inference(net, address(net), int(workspace.inference_size(net)) * size, embed.predict(size).ctypes)


def inference_table(network: Network, size: int) -> NDArray[np.int64]:
    return frozen(make_table(network, size, None, keep=False))


@functools.lru_cache(maxsize=64)
def training_table(
    network: Network, size: int, objective: Objective, few: bool = False, dropped: tuple[float, ...] = ()
) -> NDArray[np.int64]:
    """The table for training, evaluation and everything else; few: also for mini-batches of a few examples.

    dropped: for training with dropout, the fraction of each hidden layer.
    """
    net = make_table(network, size, objective, keep=False, dropped=dropped)
    if few:
        net[slots.NET_DOTS] = dots.dots(size, 1).address
        net[slots.NET_ONLINE] = online.online(size).address
    return frozen(net)


def frozen(net: NDArray[np.int64]) -> NDArray[np.int64]:
    """The table, from now on read-only."""
    net.flags.writeable = False
    return net


@functools.lru_cache(maxsize=16)
def diagnostic_table(network: Network, size: int, objective: Objective | None) -> NDArray[np.int64]:
    """As the training table, but z, a, dz and da each have memory of their own, and no loss is fused."""
    return frozen(make_table(network, size, objective, keep=True))


def make_table(
    network: Network, size: int, objective: Objective | None, *, keep: bool, dropped: tuple[float, ...] = ()
) -> NDArray[np.int64]:
    net = np.zeros(slots.HEADER + network.n_layers * slots.LAYER_SLOTS, np.int64)
    layers = net[slots.HEADER :].reshape(network.n_layers, slots.LAYER_SLOTS)
    for layer, fraction in zip(layers, dropped, strict=False):
        layer[slots.LAYER_DROPOUT] = dropout.in_steps(fraction)
    row = fill_layout(network, layers, size, training=objective is not None, keep=keep)
    header = {
        slots.NET_VERSION: slots.VERSION,
        slots.NET_LENGTH: len(net),
        slots.NET_SIZE: size,
        slots.NET_LAYERS: network.n_layers,
        slots.NET_INPUTS: network.n_inputs,
        slots.NET_OUTPUTS: network.n_outputs,
        slots.NET_PARAMETERS: network.n_parameters,
        slots.NET_WIDEST: max(stride_of(width, size) for width in network.sizes),
        slots.NET_ROW: row,
        slots.NET_BLOCK: block_of(network, row * size, size),
        slots.NET_FLOPS: network.flops,
        slots.NET_DENSE: dense.dense(size).address,
        slots.NET_FORWARD: backprop.forward(size).address,
    }
    if dropped:
        header |= {slots.NET_FACTORS: dropout.factors(size).address, slots.NET_DROP: dropout.drop(size).address}
    if objective is not None:
        header |= fill_sums(network, layers, size, keep=keep) | training_header(network, size, objective, keep=keep)
        net.view(np.float64)[[slots.NET_L1, slots.NET_L2]] = objective.l1, objective.l2
    for slot, value in header.items():
        net[slot] = value
    fused = bool(net[slots.NET_FUSED])
    fill_activations(network, layers, size, training=objective is not None, keep=keep, fused=fused)
    return net


def fill_sums(network: Network, layers: NDArray[np.int64], size: int, *, keep: bool) -> dict[int, int]:
    """Which way the lanes of each layer's sums go; returns the header's entries for them."""
    widths, scratch = set(network.sizes[1:]), 0
    for l, (n_in, n_out) in enumerate(pairwise(network.sizes)):
        layers[l, slots.LAYER_UNIT] = 1
        panels = dense.panels_for(size, (n_out,), dense.biased_panel) if network.bias else {}
        if turned(n_in, n_out, size):
            layers[l, slots.LAYER_UNIT] = dense.panel_width(size)
            panels = dense.turned_panels(size, n_in, n_out)
            scratch = max(scratch, n_out * stride_of(n_in, size))
        if l > 0 and not keep and n_in >= NARROW_INPUTS and dots.narrow_rows(n_out, size):
            layers[l, slots.LAYER_DOTS] = dots.dots(size, dots.narrow_rows(n_out, size)).address
        fill_panels(layers[l], slots.LAYER_SUMS, panels)
    transposes = network.n_layers > 1 or scratch > 0
    return {slots.NET_PANELS + i: panel.address for i, panel in dense.panels_for(size, widths).items()} | {
        slots.NET_SCRATCH: scratch,
        slots.NET_TRANSPOSED: sum(n_out * stride_of(n_in, size) for n_in, n_out in pairwise(network.sizes[1:])),
        slots.NET_TRANSPOSE: transpose.transpose(size).address if transposes else 0,
    }


def training_header(network: Network, size: int, objective: Objective, *, keep: bool) -> dict[int, int]:
    """The header's entries for the objective and the phases of a training step."""
    loss, fused = kernel_of(objective.loss, network.output, network.n_outputs, objective.classes, size, fused=not keep)
    many = network.sizes[0] * network.sizes[1] >= MANY_WEIGHTS
    return {
        slots.NET_INPUT_STRIDE: stride_of(network.n_inputs, size),
        slots.NET_TARGETS: objective.targets(network),
        slots.NET_MEAN: objective.mean,
        slots.NET_FUSED: fused,
        slots.NET_LOSS: loss.address,
        slots.NET_BACKWARD: backprop.backward(size).address,
        slots.NET_SUMS: backprop.sums(size).address,
        slots.NET_EXAMPLES: examples.examples(size).address,
        slots.NET_HALVES: examples.halves(size).address if many else 0,
        slots.NET_GRADIENT_SHARE: step.gradient_share(size).address,
        slots.NET_UPDATE_SHARE: step.update_share(size).address,
        slots.NET_TRAIN: step.train(size).address,
        slots.NET_ROWS: sum(network.sizes[:-1]) + network.bias * network.n_layers,
        slots.NET_PENALTY: penalty.penalty(size).address if objective.l1 or objective.l2 else 0,
    }


def fill_activations(
    network: Network, layers: NDArray[np.int64], size: int, *, training: bool, keep: bool, fused: bool
) -> None:
    """Where z becomes a, and da dz: on the way to memory if that is short, else after it, or in the loss."""
    for l, (width, activation) in enumerate(zip(network.sizes[1:], network.activations, strict=True)):
        layer, last = layers[l], l == network.n_layers - 1
        needed = (activation != "identity" or keep) and not (last and fused)
        short = needed and not keep and not last and activations.is_short(activation)
        visit = activation if short else "identity"
        fill_panels(layer, slots.LAYER_PANELS, dense.panels_for(size, (width,), dense.panel, visit))
        layer[slots.LAYER_ACTIVATED] = short
        if needed:
            layer[slots.LAYER_FORWARD] = activations.forward(activation, size, width).address
        if needed and training:
            layer[slots.LAYER_BACKWARD] = activations.backward(activation, size).address
        if training and not last:
            sloped = needed and not keep and not layer[slots.LAYER_DROPOUT]
            sloped = sloped and activations.has_short_derivative(activation)
            visit = f"{activation}'" if sloped else "identity"
            fill_panels(layers[l + 1], slots.LAYER_DELTAS, dense.panels_for(size, (width,), dense.panel, visit))
            layers[l + 1, slots.LAYER_SLOPED] = sloped


def fill_panels(layer: NDArray[np.int64], first: int, panels: dict[int, Any]) -> None:
    """The panels' addresses, from slot `first` on."""
    for i, panel in panels.items():
        layer[first + i] = panel.address


def fill_layout(network: Network, layers: NDArray[np.int64], size: int, *, training: bool, keep: bool) -> int:
    """Offsets of each layer in theta and in the activations; returns the activations' elements for one example."""
    at, transposed = 0, 0
    for l, ((n_in, n_out), activation) in enumerate(zip(pairwise(network.sizes), network.activations, strict=True)):
        layer, stride = layers[l], stride_of(n_out, size)
        layer[slots.LAYER_IN], layer[slots.LAYER_OUT], layer[slots.LAYER_STRIDE] = n_in, n_out, stride
        layer[slots.LAYER_W] = network.offsets[l]
        layer[slots.LAYER_B] = network.offsets[l] + n_in * n_out if network.bias else -1
        own_z = keep or (training and activations.reads_z(activation))
        layer[slots.LAYER_Z] = at
        at += stride * own_z
        layer[slots.LAYER_A] = at
        at += stride
        layer[slots.LAYER_DZ] = layer[slots.LAYER_DA] = at
        at += stride * training
        layer[slots.LAYER_DROPPED] = layer[slots.LAYER_A]
        if layer[slots.LAYER_DROPOUT]:
            layer[slots.LAYER_DROPPED], layer[slots.LAYER_FACTORS] = at, at + stride
            at += 2 * stride
        if keep and training:
            layer[slots.LAYER_DA] = at
            at += stride
        if l > 0:
            layer[slots.LAYER_WT] = transposed
            transposed += n_out * stride_of(n_in, size)
    return at


def turned(n_in: int, n_out: int, size: int) -> bool:
    """Whether the weight gradients' sums cost less with their lanes over the inputs than over the outputs.

    Vectors a multiply-add needs for one example: n_in times those of a row of outputs, or n_out times those of a row
    of inputs, which are then turned.
    """
    lanes = lanes_of(size)
    return bool(1.25 * n_out * -(-n_in // lanes) < n_in * -(-n_out // lanes))


def aligned_zeros(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """count zeros that begin at a cache line.

    A vector may reach beyond their end, its last lanes masked: as slow as a fault where nobody has touched that page.
    """
    size = np.dtype(dtype).itemsize
    raw = np.zeros(count * size + 2 * ALIGNMENT, np.uint8)
    raw[-1] = 0
    begin = -raw.ctypes.data % ALIGNMENT
    return raw[begin : begin + count * size].view(dtype)


def address(array: NDArray[Any]) -> int:
    """Of the first element of a C-contiguous array; faster than array.ctypes where the array may be written."""
    if array.flags.writeable and array.nbytes:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    return int(array.ctypes.data)


def block_of(network: Network, row_bytes: int, size: int) -> int:
    """Examples that pass through all layers together: a multiple of the tallest tile."""
    fewest = 120 if network.n_parameters * size > 512 * 1024 else 24
    return max(fewest, min(480, BLOCK_BYTES // row_bytes // 24 * 24))
