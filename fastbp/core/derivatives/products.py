"""Products of the network's Jacobian with vectors: along a direction, and from a cotangent back.

jvp     y' = Σ_k ∂y/∂x_k x'_k + Σ_p ∂y/∂θ_p θ'_p
vjp     dx_k = Σ_j c_j ∂y_j/∂x_k        dθ_p = Σ_n Σ_j c_nj ∂y_nj/∂θ_p
"""

import functools

from fastbp.core.derivatives.frame import block_of, opening
from fastbp.core.derivatives.passes import (
    deltas_of,
    outputs_to,
    pulling_inputs,
    seeding,
    summing,
    tangents_of,
    transposing,
    valuing,
)
from fastbp.core.ir.kernel import INT, POINTERS, VOID, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import first, floats_at, load, shift, store
from fastbp.core.ir.traced import minimum, plus
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import NET, layer_of


@functools.cache
def jvp(size):
    """Overwrites y and dy (rows, n_out): the outputs, and their derivative along x' and θ', at addresses (0: none)."""
    P, open_frame, compute_values = POINTERS[size], opening(size), valuing(size)
    compute_tangents, (copy_outputs, copy_slopes) = tangents_of(size), outputs_to(size)

    @kernel(VOID(NET, P, P, P, P, INT, INT, INT, P), size)
    def jvp(net, theta, y, dy, x, dx, dtheta, rows, workspace):
        wide_vectors()
        frame = open_frame(workspace, net, theta, rows, 1, 1, 1)
        block, n_in, n_out = block_of(net, rows, 1), net.inputs, net.outputs
        work, order_1 = floats_at(frame.work, size), floats_at(frame.order_1, size)
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            compute_values(frame, shift(x, begin * n_in), count)
            compute_tangents(frame, dx + begin * n_in * size if dx != 0 else 0, dtheta, 1, count)
            copy_outputs(frame, shift(y, begin * n_out), work, frame.capacity, count)
            copy_slopes(frame, shift(dy, begin * n_out), order_1, frame.directions_capacity, count)

    return jvp


@functools.cache
def adding_parts(size):
    """(out, part, count): out_i ← out_i + part_i, for `inline`."""
    lanes = lanes_of(size)

    @inline
    def add_part(out, part, count):
        for i in range(0, count, lanes):
            mask = first(count - i, lanes)
            store(shift(out, i), plus(load(shift(out, i), mask), load(shift(part, i), mask)), mask)

    return add_part


@functools.cache
def vjp(size):
    """Overwrites dx (rows, n_in) and dtheta, at addresses (0: not wanted), for the cotangent (rows, n_out).

    dtheta is summed over the examples of each shard in their order, then over the shards.
    """
    P, open_frame, compute_values, transpose = POINTERS[size], opening(size), valuing(size), transposing(size)
    seed, compute_deltas, sum_gradient = seeding(size), deltas_of(size), summing(size)
    pull_inputs, add_part = pulling_inputs(size), adding_parts(size)

    @kernel(VOID(NET, P, INT, INT, P, P, INT, INT, INT, P), size)
    def vjp(net, theta, dx, dtheta, x, cotangent, rows, shards, few, workspace):
        wide_vectors()
        frame = open_frame(workspace, net, theta, rows, 1, 0, few)
        block, n_in = block_of(net, rows, 1), net.inputs
        work, capacity = floats_at(frame.work, size), frame.capacity
        transpose(frame, floats_at(frame.wt, size), theta)
        lowest = layer_of(net, 0)
        for shard in range(shards):
            out = floats_at(dtheta if shard == 0 else frame.partial, size)
            first_row, end = rows * shard // shards, rows * (shard + 1) // shards
            for begin in range(first_row, end, block):
                count = minimum(block, end - begin)
                compute_values(frame, shift(x, begin * n_in), count)
                seed(frame, work, capacity, shift(cotangent, begin * net.outputs), count)
                compute_deltas(frame, work, capacity, 1, count, 0)
                if dx != 0:
                    dz = place(work, capacity, 0, lowest, lowest.dz)
                    pull_inputs(frame, shift(floats_at(dx, size), begin * n_in), dz, count)
                if dtheta != 0:
                    sum_gradient(frame, out, int(begin > first_row), count)
            if dtheta != 0 and shard > 0:
                add_part(floats_at(dtheta, size), out, net.parameters)

    return vjp
