"""From a Network to the int64 table with which compiled code runs it: offsets, and addresses of its kernels.

Only the kernels that the network uses are compiled. Addresses hold for this process; each process makes its own tables.
"""

import ctypes
import functools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.core import embedded, workspace
from fastbp.core.ir.process_stamp import process_stamp
from fastbp.core.layers import dropout, forward_backward
from fastbp.core.layers import scaling as layers_scaling
from fastbp.core.matmul import few_rows, gemm
from fastbp.core.slots import HEADER, LAYER_SLOTS, VERSION, Layer, Net
from fastbp.core.step import examples, gradient_and_update, penalty, train
from fastbp.engine.layer_tables import fill_activations, fill_layout, fill_packed, fill_sums, stride_of
from fastbp.losses import AnyLoss, kernel_of, outputs_of
from fastbp.network import Network

ALIGNMENT = 64

BLOCK_BYTES = 192 * 1024
"""Activations of the examples that pass through all layers together: they stay in the first two caches."""


MANY_WEIGHTS = 64 * 1024
"""Weights of a first layer that it costs more to move between cores than the sums of its two halves."""


@dataclass(frozen=True)
class Objective:
    """What training minimises: the loss, whether y holds class indices, the average or the sum over examples; and
    l1 Σ|w| + ½ l2 Σ w². trainable: which layers are, if not all.
    """

    loss: AnyLoss
    classes: bool
    mean: bool
    l1: float = 0.0
    l2: float = 0.0
    trainable: tuple[bool, ...] = ()

    def targets(self, network: Network) -> int:
        """Numbers of y for one example."""
        return 1 if self.classes else network.n_outputs // outputs_of(self.loss)


def embedded_table(
    network: Network, size: int, objective: Objective, smoothing: tuple[float, float] | None = None
) -> NDArray[np.int64]:
    """A table for `fastbp.jit`: the training table, with the outputs' activation and the entry points.

    smoothing: (1 - ε, ε / K) of the targets.
    """
    rows = replace(objective, classes=objective.classes and smoothing is None)
    net = training_table(network, size, rows, few=True).copy()
    net[Net.targets], net[Net.classes] = objective.targets(network), objective.classes
    if smoothing is not None:
        net.view(np.float64)[[Net.kept, Net.spread]] = smoothing
    net[Net.process] = process_stamp()
    net[Net.needed] = embedded.needed(size).address
    net[Net.predict] = embedded.predict(size).address
    net[Net.gradient] = embedded.gradient(size).address
    inference = inference_table(network, size)
    last = HEADER + (network.n_layers - 1) * LAYER_SLOTS
    net[last + Layer.forward] = inference[last + Layer.forward]
    return net


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
    return Inference(net, address(net), int(workspace.inference_size(net)) * size, embedded.predict_packed(size).ctypes)


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
        net[Net.few_rows] = few_rows.few_rows(size).address
    return frozen(net)


def frozen(net: NDArray[np.int64]) -> NDArray[np.int64]:
    """The table, from now on read-only."""
    net.flags.writeable = False
    return net


@functools.lru_cache(maxsize=16)
def diagnostic_table(network: Network, size: int, objective: Objective | None) -> NDArray[np.int64]:
    """As the training table, but z, a, dz and da each have separate memory, and no loss is fused."""
    return frozen(make_table(network, size, objective, keep=True))


def make_table(
    network: Network, size: int, objective: Objective | None, *, keep: bool, dropped: tuple[float, ...] = ()
) -> NDArray[np.int64]:
    net, layers = empty_table(network, size)
    for layer, fraction in zip(layers, dropped, strict=False):
        layer[Layer.dropout] = dropout.in_steps(fraction)
    row = fill_layout(network, layers, size, training=objective is not None, keep=keep)
    header = common_header(network, size, row)
    if dropped:
        header |= {Net.factors: dropout.factors(size).address, Net.drop: dropout.drop(size).address}
    header |= fill_packed(network, layers, size)
    if objective is not None:
        header |= fill_sums(network, layers, size) | training_header(network, size, objective, keep=keep)
        net.view(np.float64)[[Net.l1, Net.l2]] = objective.l1, objective.l2
        freeze(net, layers, objective.trainable)
    header |= {Net.length: len(net)}
    for slot, value in header.items():
        net[slot] = value
    fused = bool(net[Net.fused])
    fill_activations(network, layers, size, training=objective is not None, keep=keep, fused=fused)
    return net


def empty_table(network: Network, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A table with nothing but the network's scaling, and the view of its layers, a row each."""
    end, scaling = HEADER + network.n_layers * LAYER_SLOTS, network.scaling
    width = max(stride_of(width, size) for width in network.sizes)
    vectors = np.zeros((0 if scaling is None else 2 if scaling.kind == "inputs" else 5, width), f"f{size}")
    if scaling is not None:
        vectors[0, : network.n_inputs], vectors[1, : network.n_inputs] = scaling.mean, 1 / scaling.scale
        if scaling.output_mean is not None and scaling.output_scale is not None:
            rows = (scaling.output_mean, scaling.output_scale, 1 / scaling.output_scale)
            for vector, row in zip(vectors[2:], rows, strict=True):
                vector[: network.n_outputs] = row
    net = np.concatenate([np.zeros(end, np.int64), vectors.reshape(-1).view(np.int64)])
    if scaling is not None:
        net[Net.scaling], net[Net.input_stride] = end, stride_of(network.n_inputs, size)
        net[Net.standardize] = layers_scaling.standardize(size).address
        if scaling.kind == "both":
            net[Net.standardize_targets] = layers_scaling.standardize_targets(size).address
            net[Net.restore] = layers_scaling.restore(size).address
    return net, net[HEADER:end].reshape(network.n_layers, LAYER_SLOTS)


def common_header(network: Network, size: int, row: int) -> dict[int, int]:
    """The header's entries of every table; row: elements of all activations of one example."""
    return {
        Net.version: VERSION,
        Net.size: size,
        Net.layers: network.n_layers,
        Net.inputs: network.n_inputs,
        Net.outputs: network.n_outputs,
        Net.parameters: network.n_parameters,
        Net.widest: max(stride_of(width, size) for width in network.sizes),
        Net.row: row,
        Net.block: block_of(network, row * size, size),
        Net.flops: network.flops,
        Net.dense: gemm.dense(size).address,
        Net.forward: forward_backward.forward(size).address,
    }


def freeze(net: NDArray[np.int64], layers: NDArray[np.int64], trainable: tuple[bool, ...]) -> None:
    """Marks the layers that are not trainable; () for none."""
    if trainable:
        layers[:, Layer.frozen] = np.logical_not(trainable)
        net[Net.lowest] = trainable.index(True)


def training_header(
    network: Network, size: int, objective: Objective, *, keep: bool, first_phase: Any = None
) -> dict[int, int]:
    """The header's entries for the objective and the phases of a training step; first_phase: a kernel other than
    `examples`.
    """
    loss, fused = kernel_of(objective.loss, network.output, network.n_outputs, objective.classes, size, fused=not keep)
    many = network.sizes[0] * network.sizes[1] >= MANY_WEIGHTS
    return {
        Net.input_stride: stride_of(network.n_inputs, size),
        Net.target_row: objective.targets(network),
        Net.mean: objective.mean,
        Net.fused: fused,
        Net.loss: loss.address,
        Net.backward: forward_backward.backward(size).address,
        Net.sums: forward_backward.sums(size).address,
        Net.examples: (first_phase or examples.examples(size)).address,
        Net.halves: examples.halves(size).address if many else 0,
        Net.gradient_share: gradient_and_update.gradient_share(size).address,
        Net.update_share: gradient_and_update.update_share(size).address,
        Net.gradient_and_update_share: gradient_and_update.gradient_and_update_share(size).address,
        Net.train: train.train(size).address,
        Net.rows: sum(network.sizes[:-1]) + network.bias * network.n_layers,
        Net.penalty: penalty.penalty(size).address if objective.l1 or objective.l2 else 0,
    }


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
