"""What the int64 table holds of each layer: its places in theta and in the activations, and the kernels of its sums.

Only the kernels that the network uses are compiled.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core.layers import activation_kernels
from fastbp.core.matmul import few_columns, forms, gemm, packed_weights, transpose
from fastbp.core.slots import Layer, Net
from fastbp.network import Network

STRIP_UNIT, STRIP_BYTES = 48, 1 << 16
"""Rows that are whole tiles of the gradient's sums and of the transpose, of any height; bytes of a strip's gradient."""

LINE = 64
"""Rows in the workspace are multiples of these bytes: whole vectors."""


def stride_of(width: int, size: int) -> int:
    """Elements between rows of `width` elements, padded; not a multiple of 1 KB, whose rows share cache sets."""
    line = LINE // size
    stride = -(-width // line) * line
    return stride + line if stride * size % 1024 == 0 else stride


def fill_layout(network: Network, layers: NDArray[np.int64], size: int, *, training: bool, keep: bool) -> int:
    """Offsets of each layer in theta and in the activations; returns the activations' elements for one example."""
    at, transposed = 0, 0
    for l, ((n_in, n_out), activation) in enumerate(zip(pairwise(network.sizes), network.activations, strict=True)):
        layer, stride = layers[l], stride_of(n_out, size)
        layer[Layer.n_in], layer[Layer.n_out], layer[Layer.stride] = n_in, n_out, stride
        layer[Layer.w] = network.offsets[l]
        layer[Layer.b] = network.offsets[l] + n_in * n_out if network.bias else -1
        own_z = keep or (training and activation_kernels.reads_z(activation))
        layer[Layer.z] = at
        at += stride * own_z
        layer[Layer.a] = at
        at += stride
        layer[Layer.dz] = layer[Layer.da] = at
        at += stride * training
        layer[Layer.dropped] = layer[Layer.a]
        if layer[Layer.dropout]:
            layer[Layer.dropped], layer[Layer.factors] = at, at + stride
            at += 2 * stride
        if keep and training:
            layer[Layer.da] = at
            at += stride
        if l > 0:
            layer[Layer.wt] = transposed
            transposed += n_out * stride_of(n_in, size)
    return at


def fill_packed(network: Network, layers: NDArray[np.int64], size: int) -> dict[int, int]:
    """Which layers have packed weights, and where; returns the header's entries for them."""
    at = 0
    for layer, (n_in, n_out) in zip(layers, pairwise(network.sizes), strict=True):
        is_packed = forms.packs_weights(n_in, n_out, size)
        layer[Layer.packed] = at if is_packed else -1
        at += packed_weights.packed_size(n_in, n_out, size) * is_packed
    if not at:
        return {}
    return {
        Net.packed: at,
        Net.pack: packed_weights.pack(size).address,
        Net.packed_dense: packed_weights.packed_dense(size).address,
    }


def fill_sums(network: Network, layers: NDArray[np.int64], size: int) -> dict[int, int]:
    """The form of each layer's sums; returns the header's entries for them."""
    widths, scratch, longest = set(network.sizes[1:]), 0, 0
    for l, (n_in, n_out) in enumerate(pairwise(network.sizes)):
        panels, together = gemm.biased_panels(size, n_in, n_out) if network.bias else ({}, False)
        layers[l, Layer.unit] = n_in + 1 if together else 1
        if not together and forms.sums_over_inputs(n_in, n_out, size):
            layers[l, Layer.unit], layers[l, Layer.lanes_over_k] = forms.panel_width(size), 1
            panels = gemm.transposed_panels(size, n_in, n_out)
            scratch = max(scratch, n_out * stride_of(n_in, size))
        fill_panels(layers[l], Layer.sums, panels)
        strip = strip_of(n_out, int(layers[l, Layer.unit]), size)
        layers[l, Layer.strip] = strip
        longest = max(longest, min(strip + strip // 2, n_in + network.bias) * n_out)
    transposes = network.n_layers > 1 or scratch > 0
    return {Net.panels + i: panel.address for i, panel in gemm.panels_for(size, widths).items()} | {
        Net.scratch: scratch,
        Net.strip: stride_of(longest, size),
        Net.transposed: sum(n_out * stride_of(n_in, size) for n_in, n_out in pairwise(network.sizes[1:])),
        Net.transpose: transpose.transpose(size).address if transposes else 0,
    }


def strip_of(n_out: int, unit: int, size: int) -> int:
    """Rows of a strip: see Layer.strip."""
    rows = math.lcm(STRIP_UNIT, unit)
    return rows * max(1, STRIP_BYTES // (rows * n_out * size))


def fill_activations(
    network: Network, layers: NDArray[np.int64], size: int, *, training: bool, keep: bool, fused: bool
) -> None:
    """Where z becomes a, and da dz: on the way to memory if that is short, else after it, or in the loss."""
    for l, (width, activation) in enumerate(zip(network.sizes[1:], network.activations, strict=True)):
        layer, last = layers[l], l == network.n_layers - 1
        needed = (activation != "identity" or keep) and not (last and fused)
        short = needed and not keep and not last and activation_kernels.is_short(activation)
        epilogue = activation if short else "identity"
        fill_panels(layer, Layer.panels, forward_panels(network.sizes[l], width, size, epilogue))
        layer[Layer.fused_activation] = short
        if needed:
            layer[Layer.forward] = activation_kernels.forward(activation, size, width).address
        if needed and training:
            layer[Layer.backward] = activation_kernels.backward(activation, size).address
        if training and not last:
            fused_derivative = needed and not keep and not layer[Layer.dropout]
            fused_derivative = fused_derivative and activation_kernels.has_short_derivative(activation)
            epilogue = f"{activation}'" if fused_derivative else "identity"
            fill_panels(layers[l + 1], Layer.deltas, gemm.panels_for(size, (width,), gemm.panel, epilogue))
            layers[l + 1, Layer.fused_derivative] = fused_derivative


def forward_panels(n_in: int, n_out: int, size: int, epilogue: Any) -> dict[int, Any]:
    """The panels of a layer's forward sum."""
    if forms.sums_few_columns(n_in, n_out, size):
        return {1: few_columns.few_columns(size, n_in, n_out, epilogue)}
    panels: dict[int, Any] = gemm.panels_for(size, (n_out,), gemm.panel, epilogue)
    if n_out > forms.panel_width(size):
        panels[gemm.one_row_number(size)] = gemm.row_panel(size, n_out, epilogue)
    return panels


def fill_panels(layer: NDArray[np.int64], first: int, panels: dict[int, Any]) -> None:
    """The panels' addresses, from slot `first` on."""
    for i, panel in panels.items():
        layer[first + i] = panel.address
