"""The first phase of a step that learns values and derivatives together: see `Model.fit`, dy.

    C_n = loss(y_n, t_n) + λ Σ_jk (∂y_nj/∂x_nk - dy_njk)²        over the dy_njk that are known, not NaN

(Czarnecki et al., Sobolev training for neural networks, NeurIPS 2017.) For each output j, deltas of y_j lead down to
g_jk = ∂y_j/∂x_k. With u_jk = ∂C/∂g_jk, the gradient of the second part is that of Σ_j u_j · ∂y_j/∂x at constant u: of
the derivative of y_j along x' = u_j. So tangents along u_j meet the deltas of y_j on each layer, as in taylor_vjp:

    dz_i = σ'(z_i) da_i + Σ_j σ''(z_i) z'_ji da'_ji        dw_ik = Σ_n a_k dz_i + Σ_nj a'_jk dz'_ji
"""

import functools

from fastbp.core.derivatives.frame import frame_at
from fastbp.core.derivatives.passes import (
    adding_order,
    deltas_of,
    losing,
    pulling,
    pulling_inputs,
    summing,
    tangents_of,
)
from fastbp.core.ir.atomics import atomic_load, atomic_store
from fastbp.core.ir.kernel import DOUBLE, INT, VOID, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import (
    address_of,
    doubles_at,
    fill,
    first,
    floats_at,
    gather,
    integers_at,
    load,
    not_finite,
    rounded,
    shift,
    store,
    total,
)
from fastbp.core.ir.traced import select, sum_of, traced
from fastbp.core.layers import calls
from fastbp.core.layers.forward_backward import place
from fastbp.core.layers.scaling import OUTPUT_SCALE, vectors_of
from fastbp.core.slots import AFTER_EXAMPLES, DIVERGED, JOB, STOPPED, layer_of
from fastbp.core.step.examples import cost_at, given, reading, rows_of_block
from fastbp.core.workspace import derivative_parts, padded

known_difference = traced(lambda g, wanted: select(wanted == wanted, g - wanted, 0.0))
plus_square = traced(lambda r, so_far: r * r + so_far)
times = traced(lambda r, factor: r * factor)


@functools.cache
def opening(size):
    """(job, region, scratch) -> (frame, u, room for dy), all in the region of a worker, for `inline`."""

    @inline
    def open_frame(job, region, scratch):
        net = job.net
        sizes = derivative_parts(net, job.capacity)
        extra = shift(region, padded(job.capacity) * (net.row + net.input_stride + net.target_row + 1))
        frame = frame_at(extra, 0)
        order_1 = shift(extra, sizes[0])
        u = shift(order_1, sizes[1])
        frame.net, frame.theta, frame.few, frame.lowest, frame.raw = net, job.theta, job.few, 0, 0
        frame.capacity, frame.directions_capacity = job.capacity, padded(job.capacity * net.directions)
        frame.zeros, frame.wt, frame.scratch = job.zeros, job.wt, address_of(scratch)
        frame.work, frame.order_1 = address_of(region), address_of(order_1)
        return frame, u, shift(u, sizes[2])

    return open_frame


@functools.cache
def reading_derivatives(size):
    """(job, out, at, rows) -> dy of the examples from `at` on, gathered to out if they have an order; for `inline`."""
    lanes = lanes_of(size)

    @inline
    def read_derivatives(job, out, at, rows):
        width, given_dy = job.net.outputs * job.net.inputs, floats_at(job.dy, size)
        if job.order == 0:
            return shift(given_dy, at * width)
        gather(out, width, given_dy, width, width, shift(integers_at(job.order), at), rows, lanes)
        return out

    return read_derivatives


@functools.cache
def comparing(size):
    """(job, u, dy, loss, w, w_row, rows, scale), for `inline`: the derivatives' part of the cost.

    Overwrites u (outputs, rows, inputs), which holds ∂y_j/∂x_k, by ∂C/∂ of it; adds to the examples' losses.
    """
    lanes = lanes_of(size)

    @inline
    def compare(job, u, dy, loss, w, w_row, rows, scale):
        net, weight = job.net, job.derivative_weight
        n_in, n_out = net.inputs, net.outputs
        for n in range(rows):
            squares = fill(u, 0.0, lanes)
            factor = 2.0 * weight * scale * w[n * w_row]
            for j in range(n_out):
                g, wanted = shift(u, (j * rows + n) * n_in), shift(dy, (n * n_out + j) * n_in)
                for k in range(0, n_in, lanes):
                    mask = first(n_in - k, lanes)
                    r = known_difference(load(shift(g, k), mask), load(shift(wanted, k), mask))
                    squares = plus_square(r, squares)
                    store(shift(g, k), times(r, factor), mask)
            loss[n] += weight * w[n * w_row] * sum_of(squares)

    return compare


@functools.cache
def seeding_outputs(size):
    """(frame, rows): da' of the last layer in order_1 is that of output j for direction j, for `inline`.

    That is e_j, or in raw units output_scale_j e_j.
    """
    vector = vectors_of(size)

    @inline
    def seed_outputs(frame, rows):
        net, order_1 = frame.net, floats_at(frame.order_1, size)
        layer = layer_of(net, net.layers - 1)
        for j in range(net.outputs):
            for n in range(rows):
                da = place(order_1, frame.directions_capacity, j * rows + n, layer, layer.da)
                for i in range(layer.stride):
                    da[i] = 0.0
                da[j] = vector(net, OUTPUT_SCALE)[j] if frame.raw != 0 and net.restore != 0 else rounded(1.0, da)

    return seed_outputs


@functools.cache
def bending(size):
    """(frame, rows), for `inline`: dz and da of `work` from those of the loss, and from what bends the derivatives."""
    pull = pulling(size)

    @inline
    def compute_bent_deltas(frame, rows):
        net, work, order_1 = frame.net, floats_at(frame.work, size), floats_at(frame.order_1, size)
        capacity, count, zeros = frame.capacity, frame.directions_capacity, floats_at(frame.zeros, size)
        theta, wt = floats_at(frame.theta, size), floats_at(frame.wt, size)
        for l in range(net.layers - 1, net.lowest - 1, -1):
            layer = layer_of(net, l)
            z, a = place(work, capacity, 0, layer, layer.z), place(work, capacity, 0, layer, layer.a)
            dz, da = place(work, capacity, 0, layer, layer.dz), place(work, capacity, 0, layer, layer.da)
            shape = rows, layer.n_out, layer.stride
            if l + 1 < net.layers or net.fused == 0:
                calls.derivative(layer, dz, z, a, da, shape)
            for j in range(net.outputs if layer.bend != 0 else 0):
                z_t = place(order_1, count, j * rows, layer, layer.z)
                a_t = place(order_1, count, j * rows, layer, layer.a)
                u = place(order_1, count, j * rows, layer, layer.da)
                calls.bend(layer, dz, (z, a), (z_t, a_t), u, shape)
            if l > net.lowest:
                below = layer_of(net, l - 1)
                out = place(work, capacity, 0, below, below.da)
                pull(frame, l, out, below.stride, zeros, 0, dz, theta, wt, rows)

    return compute_bent_deltas


@functools.cache
def examples(size):
    """As `step.examples.examples`, always with shards: overwrites the shards' gradients and costs, and the losses."""
    lanes, read, read_derivatives, open_frame = lanes_of(size), reading(size), reading_derivatives(size), opening(size)
    seed_outputs, compute_deltas, compare = seeding_outputs(size), deltas_of(size), comparing(size)
    compute_tangents, compute_loss, compute_bent_deltas = tangents_of(size), losing(size), bending(size)
    pull_inputs, sum_gradient, add_order = pulling_inputs(size), summing(size), adding_order(size)

    @inline
    def learn_block(job, frame, u, room, loss, spare, shard, added, at, rows, scale):
        """Losses, and the gradient of the cost of `rows` examples from the place `at` on, added to the shard's."""
        net, region, weighted = job.net, floats_at(frame.work, size), given(job.weights)
        theta, zeros, outputs = floats_at(job.theta, size), floats_at(job.zeros, size), net.outputs
        x, x_row, y, w = read(job, region, at, 0, rows)
        frame.x, frame.x_row, frame.losses, frame.spare = address_of(x), x_row, address_of(loss), address_of(spare)
        calls.forward(net, (theta, 0, zeros), (x, x_row, 0), (region, job.capacity, 0, rows), 1)
        compute_loss(frame, y, w, weighted, rows, scale)
        seed_outputs(frame, rows)
        order_1, count, lowest = floats_at(frame.order_1, size), frame.directions_capacity, layer_of(net, 0)
        compute_deltas(frame, order_1, count, outputs, rows, 0)
        pull_inputs(frame, u, place(order_1, count, 0, lowest, lowest.dz), outputs * rows)
        compare(job, u, read_derivatives(job, room, at, rows), loss, w, weighted, rows, scale)
        compute_tangents(frame, address_of(u), 0, outputs, rows)
        compute_bent_deltas(frame, rows)
        sum_gradient(frame, shard, added, rows)
        add_order(frame, shard, order_1, 0, outputs * rows)

    @kernel(VOID(INT, JOB, INT, INT, INT, DOUBLE), size)
    def examples(rank, job, epoch, position, count, scale):
        wide_vectors()
        net, shards, workers = job.net, job.shards, job.workers
        region = shift(floats_at(job.region, size), rank * job.region_size)
        frame, u, room = open_frame(job, region, shift(floats_at(job.scratch, size), rank * net.scratch))
        for unit in range(shards * rank // workers, shards * (rank + 1) // workers):
            begin, end = count * unit // shards, count * (unit + 1) // shards
            shard = shift(floats_at(job.shard, size), unit * job.shard_size)
            added, cost = 0, 0.0
            while added == 0 or begin < end:
                rows, at = rows_of_block(end - begin, net.block), position + begin
                loss, spare = shift(floats_at(job.losses, size), begin), shift(floats_at(job.spare, size), begin)
                learn_block(job, frame, u, room, loss, spare, shard, added, at, rows, scale)
                cost += total(loss, rows, lanes)
                if job.update != 0 and not_finite(loss, rows, lanes):
                    atomic_store(job.outcomes, AFTER_EXAMPLES, DIVERGED)
                if atomic_load(job.stop, 0) != 0:
                    atomic_store(job.outcomes, AFTER_EXAMPLES, STOPPED)
                    return
                begin, added = begin + rows, 1
            doubles_at(cost_at(job, unit, size))[0] = cost

    return examples
