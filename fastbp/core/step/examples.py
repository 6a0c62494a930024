"""A worker's part of the first phase of a step: forward, losses and deltas of examples.

Where the first layer has many weights, its forward sums are a separate phase: see `halves`.
"""

import functools

from fastbp.core.ir.atomics import atomic_load, atomic_store
from fastbp.core.ir.kernel import DOUBLE, INT, VOID, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import (
    doubles_at,
    every,
    floats_at,
    gather,
    integers_at,
    load,
    not_finite,
    prefetch,
    shift,
    store,
    total,
)
from fastbp.core.ir.traced import maximum, minimum, plus, select, traced
from fastbp.core.layers import calls
from fastbp.core.layers.calls import dense, packed_dense
from fastbp.core.layers.forward_backward import place, share, sums_of_share
from fastbp.core.slots import AFTER_EXAMPLES, DIVERGED, JOB, STOPPED, layer_of
from fastbp.core.workspace import ONE

PREFETCHED_ROW = 1024  # bytes of a row, at most: the CPU prefetches longer ones by itself


@traced
def rows_of_block(left, block):
    """The number of the next rows: a block, or all that are left if they are fewer than one and a half."""
    return select(block + block // 2 < left, block, left)


def address_of_cost(job, shard, size):
    """Address of the cost of a shard, a float64 behind its gradient."""
    return job.shard + ((shard + 1) * job.shard_size - ONE) * size


cost_at = traced(address_of_cost)
given = traced(lambda address: 1 - (address == 0))


@inline
def inputs_of(job, X, region, position):
    """x, x_row of the examples from `position` on: in the region if they are gathered or scaled, else in X."""
    net = job.net
    if job.order != 0 or net.scaling != 0:
        return shift(region, job.capacity * net.row), net.input_stride
    return shift(X, position * net.inputs), net.inputs


def reading_half(size):
    """(job, position, begin, rows, low, high) -> x, x_row: inputs low … high - 1 of `rows` examples, for `inline`.

    The examples are those from `begin` on of the mini-batch, which begins at `position`.
    """
    lanes = lanes_of(size)

    @inline
    def read_half(job, position, begin, rows, low, high):
        net, n_in, X = job.net, job.net.inputs, floats_at(job.x, size)
        x, x_row = inputs_of(job, X, floats_at(job.region, size), position)
        x = shift(x, begin * x_row + low)
        if job.order != 0 and low < high:
            order = shift(integers_at(job.order), position + begin)
            gather(x, x_row, shift(X, low), n_in, high - low, order, rows, lanes)
        if net.scaling != 0:
            raw, raw_row = x, x_row
            if job.order == 0:
                raw, raw_row = shift(X, (position + begin) * n_in + low), n_in
            calls.standardize(net, (x, x_row), (raw, raw_row), rows, (low, high))
        return x, x_row

    return read_half


@functools.cache
def halves(size):
    """The first layer's z, in halves: Σ_k w_jk x_nk over the first and over the second half of the inputs k.

    Overwrites z by the first half, with b_j, and `job.half` by the second. The pairs (half, example) are divided among
    the workers in this order: two workers read only the weights that they update, and gather only the inputs that their
    gradients need.
    """
    read_half = reading_half(size)

    @kernel(VOID(INT, JOB, INT, INT), size)
    def halves(rank, job, position, count):
        wide_vectors()
        net, theta, layer, workers = job.net, floats_at(job.theta, size), layer_of(job.net, 0), job.workers
        n_in, n_out, stride = layer.n_in, layer.n_out, layer.stride
        out = place(floats_at(job.region, size), job.capacity, 0, layer, layer.z)
        init = floats_at(job.zeros, size)
        if layer.b >= 0:
            init = shift(theta, layer.b)
        for half in range(2):
            low, high = share(layer, half, 2)
            high = minimum(high, n_in)
            begin = maximum(2 * count * rank // workers - half * count, 0)
            rows = minimum(2 * count * (rank + 1) // workers - half * count, count) - begin
            if rows > 0:
                x, x_row = read_half(job, position, begin, rows, low, high)
                panels, z, shape = net.panels, shift(out, begin * stride), (rows, n_out, high - low)
                if job.packed != 0 and layer.packed >= 0:
                    w = shift(floats_at(job.packed, size), layer.packed)
                    packed_dense(net, panels, (z, stride), init, (x, x_row), (w, n_in, low), shape)
                else:
                    w = shift(theta, layer.w + low * n_out)
                    dense(net, panels, (z, stride, 0), (init, 0), (x, x_row, 1), (w, n_out), shape)
            out, init = floats_at(job.half, size), floats_at(job.zeros, size)

    return halves


@inline
def scale_examples(job, x, x_row, y, raw_x, raw_y, rows):
    """Overwrites x and, if targets are scaled, y by standardized ones; in place if they are gathered.

    With halves, which scale their inputs, only y.
    """
    net, raw_row = job.net, job.net.inputs
    if job.order != 0:
        raw_x, raw_row, raw_y = x, x_row, y
    if job.halves == 0:
        calls.standardize(net, (x, x_row), (raw_x, raw_row), rows, (0, net.inputs))
    if net.standardize_targets != 0:
        calls.standardize_targets(net, y, raw_y, rows)


def reading(size):
    """(job, region, at, row, rows) -> x, x_row, y, w of `rows` examples from position `at` on, for `inline`.

    Gathers examples in an order into the region, from its row `row` on; others are read in place.
    """
    lanes, most_inputs = lanes_of(size), PREFETCHED_ROW // size

    @inline
    def read(job, region, at, row, rows):
        net, weighted = job.net, given(job.weights)
        X, Y, W = floats_at(job.x, size), floats_at(job.y, size), floats_at(job.weights, size)
        capacity, n_in, n_y = job.capacity, net.inputs, net.target_row
        x, x_row = inputs_of(job, X, region, at)
        if job.order != 0:
            order, y_region = shift(integers_at(job.order), at), shift(x, capacity * x_row)
            x, y, w = shift(x, row * x_row), shift(y_region, row * n_y), shift(y_region, capacity * n_y + row)
            if job.halves == 0:
                gather(x, x_row, X, n_in, n_in, order, rows, lanes)
            gather(y, n_y, Y, n_y, n_y, order, rows, lanes)
            if weighted:
                gather(w, 1, W, 1, 1, order, rows, lanes)
        elif net.scaling != 0:
            y_region, w = shift(x, capacity * x_row), shift(W, at)
            x, y = shift(x, row * x_row), shift(Y, at * n_y)
            if net.standardize_targets != 0:
                y = shift(y_region, row * n_y)
        else:
            y, w = shift(Y, at * n_y), shift(W, at)
            later = at + job.batch
            if n_in <= most_inputs and later + rows <= job.rows:
                prefetch(shift(X, later * n_in), rows * n_in)
        if net.scaling != 0:
            scale_examples(job, x, x_row, y, shift(X, at * n_in), shift(Y, at * n_y), rows)
        return x, x_row, y, w if weighted else floats_at(job.one, size)

    return read


def adding(size):
    """(job, region, row, rows): adds the second half of the first layer's z to the first, for `inline`."""
    lanes = lanes_of(size)

    @inline
    def add_halves(job, region, row, rows):
        layer = layer_of(job.net, 0)
        stride, everywhere = layer.stride, every(lanes)
        z, half = place(region, job.capacity, row, layer, layer.z), floats_at(job.half, size)
        for i in range(0, rows * stride, lanes):
            other = load(shift(half, row * stride + i), everywhere)
            store(shift(z, i), plus(load(shift(z, i), everywhere), other), everywhere)

    return add_halves


def passing(size):
    """(job, (epoch, position), (x, x_row, y, w), (losses, spare), place_of_rows, scale), for `inline`.

    Forward, losses and deltas of the rows at a place in a region: (region, capacity, row, rows).
    """
    add_halves = adding(size)

    @inline
    def forward_and_backward(job, position, inputs, losses, place_of_rows, scale):
        net, theta, zeros = job.net, floats_at(job.theta, size), floats_at(job.zeros, size)
        x, x_row, y, w = inputs
        if job.halves != 0:
            region, _, row, rows = place_of_rows
            add_halves(job, region, row, rows)
        if net.factors != 0:
            calls.factors(net, (job, position), place_of_rows)
        calls.forward(net, (theta, job.packed, zeros), (x, x_row, job.halves), place_of_rows, 1 - net.fused)
        weights = theta, floats_at(job.wt, size), 1 - job.few, zeros
        calls.backward(net, weights, losses, (y, w, given(job.weights), scale), place_of_rows)

    return forward_and_backward


@functools.cache
def examples(size):
    """Forward, losses and deltas of a worker's part of a mini-batch (`count` examples from `position` in the order).

    Overwrites the losses, the region's activations, the shards' gradients and costs. Sets the outcome STOPPED or
    DIVERGED. epoch, counted from the job's first, is for dropout.
    """
    lanes, read, forward_and_backward = lanes_of(size), reading(size), passing(size)

    @kernel(VOID(INT, JOB, INT, INT, INT, DOUBLE), size)
    def examples(rank, job, epoch, position, count, scale):
        wide_vectors()
        net, shards, workers, capacity = job.net, job.shards, job.workers, job.capacity
        zeros, losses = floats_at(job.zeros, size), floats_at(job.losses, size)
        region = shift(floats_at(job.region, size), rank * job.region_size)
        scratch = shift(floats_at(job.scratch, size), rank * net.scratch)
        units = workers if shards == 1 else shards
        for unit in range(units * rank // workers, units * (rank + 1) // workers):
            begin, end = count * unit // units, count * (unit + 1) // units
            shard = shift(floats_at(job.shard, size), unit * job.shard_size)
            added, cost = 0, 0.0
            while added == 0 or begin < end:
                rows = rows_of_block(end - begin, net.block)
                row, at = begin if shards == 1 else 0, position + begin
                loss, spare = shift(losses, begin), shift(floats_at(job.spare, size), begin)
                x, x_row, y, w = read(job, region, at, row, rows)
                forward_and_backward(
                    job, (epoch, at), (x, x_row, y, w), (loss, spare), (region, capacity, row, rows), scale
                )
                if shards > 1:
                    sums_of_share(net, shard, added, zeros, scratch, x, x_row, region, capacity, rows, 0, 1)
                    cost += total(loss, rows, lanes)
                if job.update != 0 and not_finite(loss, rows, lanes):
                    atomic_store(job.outcomes, AFTER_EXAMPLES, DIVERGED)
                if atomic_load(job.stop, 0) != 0:
                    atomic_store(job.outcomes, AFTER_EXAMPLES, STOPPED)
                    return
                begin, added = begin + rows, 1
            if shards > 1:
                doubles_at(cost_at(job, unit, size))[0] = cost

    return examples
