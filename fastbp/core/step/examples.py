"""A worker's part of the first phase of a step: forward, losses and deltas of examples.

Where the first layer has many weights, its forward sums are a phase of their own: see `halves`.
"""

import functools

from fastbp.core.ir.atomics import atomic_load, atomic_store
from fastbp.core.ir.kernel import DOUBLE, INT, INTEGERS, VOID, call, inline, kernel, lanes_of, wide_vectors
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
from fastbp.core.ir.traced import chosen, larger_of, minimum, plus, traced
from fastbp.core.layers.forward_backward import layer_of, place, share, sums_of_share
from fastbp.core.slots import (
    DIVERGED,
    JOB_BATCH,
    JOB_CAPACITY,
    JOB_FEW,
    JOB_HALF,
    JOB_HALVES,
    JOB_LOSSES,
    JOB_NET,
    JOB_ONE,
    JOB_ORDER,
    JOB_OUTCOME,
    JOB_PACKED,
    JOB_REGION,
    JOB_REGION_SIZE,
    JOB_ROWS,
    JOB_SCRATCH,
    JOB_SHARD,
    JOB_SHARD_SIZE,
    JOB_SHARDS,
    JOB_SPARE,
    JOB_STOP,
    JOB_THETA,
    JOB_UPDATE,
    JOB_WEIGHTS,
    JOB_WORKERS,
    JOB_WT,
    JOB_X,
    JOB_Y,
    JOB_ZEROS,
    LAYER_B,
    LAYER_IN,
    LAYER_OUT,
    LAYER_PACKED,
    LAYER_STRIDE,
    LAYER_W,
    LAYER_Z,
    NET_BACKWARD,
    NET_BLOCK,
    NET_DENSE,
    NET_FACTORS,
    NET_FORWARD,
    NET_FUSED,
    NET_INPUT_STRIDE,
    NET_INPUTS,
    NET_PACKED_DENSE,
    NET_PANELS,
    NET_ROW,
    NET_SCRATCH,
    NET_TARGET_ROW,
    STOPPED,
)
from fastbp.core.workspace import ONE

PREFETCHED_ROW = 1024  # bytes of a row, at most: the CPU itself sees that longer ones go on


@traced
def rows_of_block(left, block):
    """The next examples to pass through all layers: a block, or all that are left instead of one and a small one."""
    return chosen(block + block // 2 < left, block, left)


def address_of_cost(job, shard, size):
    """Where the cost of a shard is, a float64: behind its gradient."""
    return job[JOB_SHARD] + ((shard + 1) * job[JOB_SHARD_SIZE] - ONE) * size


cost_at = traced(address_of_cost)
given = traced(lambda address: 1 - (address == 0))


@inline
def inputs_of(job, X, region, position):
    """The inputs of the examples from `position` on, and the elements between two: gathered, or where they are."""
    net = integers_at(job[JOB_NET])
    if job[JOB_ORDER] != 0:
        return shift(region, job[JOB_CAPACITY] * net[NET_ROW]), net[NET_INPUT_STRIDE]
    return shift(X, position * net[NET_INPUTS]), net[NET_INPUTS]


@functools.cache
def halves(size):
    """The first layer's z, in halves: Σ_k w_jk x_nk over the first and over the second half of the inputs k.

    Overwrites z by the first half, b_j included, and the second halves beside. The pairs (half, example) are divided
    among the workers in this order: two workers read only the weights that they update, and gather only the inputs that
    they need for their gradients.
    """
    lanes = lanes_of(size)

    @kernel(VOID(INT, INTEGERS, INT, INT), size)
    def halves(rank, job, position, count):
        wide_vectors()
        net, theta, region = (
            integers_at(job[JOB_NET]),
            floats_at(job[JOB_THETA], size),
            floats_at(job[JOB_REGION], size),
        )
        X, layer, workers = floats_at(job[JOB_X], size), layer_of(net, 0), job[JOB_WORKERS]
        n_in, n_out, stride = layer[LAYER_IN], layer[LAYER_OUT], layer[LAYER_STRIDE]
        out = place(region, job[JOB_CAPACITY], 0, layer, LAYER_Z)
        init = floats_at(job[JOB_ZEROS], size)
        if layer[LAYER_B] >= 0:
            init = shift(theta, layer[LAYER_B])
        for half in range(2):
            low, high = share(layer, half, 2)
            high = minimum(high, n_in)
            begin = larger_of(2 * count * rank // workers - half * count, 0)
            rows = minimum(2 * count * (rank + 1) // workers - half * count, count) - begin
            if rows > 0:
                x, x_row = inputs_of(job, X, region, position)
                x = shift(x, begin * x_row + low)
                if job[JOB_ORDER] != 0 and low < high:
                    order = shift(integers_at(job[JOB_ORDER]), position + begin)
                    gather(x, x_row, shift(X, low), n_in, high - low, order, rows, lanes)
                panels, z = shift(net, NET_PANELS), shift(out, begin * stride)
                if job[JOB_PACKED] != 0 and layer[LAYER_PACKED] >= 0:
                    w = shift(floats_at(job[JOB_PACKED], size), layer[LAYER_PACKED])
                    call(
                        net[NET_PACKED_DENSE], panels, z, stride, init, x, x_row, w, n_in, low, rows, n_out, high - low
                    )
                else:
                    w = shift(theta, layer[LAYER_W] + low * n_out)
                    call(net[NET_DENSE], panels, z, stride, 0, init, 0, x, x_row, 1, w, n_out, rows, n_out, high - low)
            out, init = floats_at(job[JOB_HALF], size), floats_at(job[JOB_ZEROS], size)

    return halves


def reading(size):
    """(job, region, at, row, rows) -> x, x_row, y, w of `rows` examples from the place `at` on, for `inline`.

    Examples in an order are copied to the region, from its example `row` on; others are read where they are.
    """
    lanes, most_inputs = lanes_of(size), PREFETCHED_ROW // size

    @inline
    def read(job, region, at, row, rows):
        net, weighted = integers_at(job[JOB_NET]), given(job[JOB_WEIGHTS])
        X, Y, W = floats_at(job[JOB_X], size), floats_at(job[JOB_Y], size), floats_at(job[JOB_WEIGHTS], size)
        capacity, n_in, n_y = job[JOB_CAPACITY], net[NET_INPUTS], net[NET_TARGET_ROW]
        x, x_row = inputs_of(job, X, region, at)
        if job[JOB_ORDER] != 0:
            order, y_region = shift(integers_at(job[JOB_ORDER]), at), shift(x, capacity * x_row)
            x, y, w = shift(x, row * x_row), shift(y_region, row * n_y), shift(y_region, capacity * n_y + row)
            if job[JOB_HALVES] == 0:
                gather(x, x_row, X, n_in, n_in, order, rows, lanes)
            gather(y, n_y, Y, n_y, n_y, order, rows, lanes)
            if weighted:
                gather(w, 1, W, 1, 1, order, rows, lanes)
        else:
            y, w = shift(Y, at * n_y), shift(W, at)
            later = at + job[JOB_BATCH]
            if n_in <= most_inputs and later + rows <= job[JOB_ROWS]:
                prefetch(shift(X, later * n_in), rows * n_in)
        return x, x_row, y, w if weighted else floats_at(job[JOB_ONE], size)

    return read


def adding(size):
    """(job, region, row, rows): z of the first layer becomes the sum of its halves, for `inline`."""
    lanes = lanes_of(size)

    @inline
    def add_halves(job, region, row, rows):
        layer = layer_of(integers_at(job[JOB_NET]), 0)
        stride, everywhere = layer[LAYER_STRIDE], every(lanes)
        z, half = place(region, job[JOB_CAPACITY], row, layer, LAYER_Z), floats_at(job[JOB_HALF], size)
        for i in range(0, rows * stride, lanes):
            other = load(shift(half, row * stride + i), everywhere)
            store(shift(z, i), plus(load(shift(z, i), everywhere), other), everywhere)

    return add_halves


@functools.cache
def examples(size):
    """Forward, losses and deltas of a worker's part of a mini-batch (`count` examples from `position` in the order).

    Overwrites the losses, the region's activations, the shards' gradients and costs. Sets the outcome STOPPED or
    DIVERGED. epoch, counted from the job's first, is for dropout.
    """
    lanes, read, add_halves = lanes_of(size), reading(size), adding(size)

    @kernel(VOID(INT, INTEGERS, INT, INT, INT, DOUBLE), size)
    def examples(rank, job, epoch, position, count, scale):
        wide_vectors()
        net, theta, wt = integers_at(job[JOB_NET]), floats_at(job[JOB_THETA], size), floats_at(job[JOB_WT], size)
        zeros, losses = floats_at(job[JOB_ZEROS], size), floats_at(job[JOB_LOSSES], size)
        shards, workers, capacity, fused = job[JOB_SHARDS], job[JOB_WORKERS], job[JOB_CAPACITY], net[NET_FUSED]
        halved, packed = job[JOB_HALVES], job[JOB_PACKED]
        weighted, transposed = given(job[JOB_WEIGHTS]), 1 - job[JOB_FEW]
        region = shift(floats_at(job[JOB_REGION], size), rank * job[JOB_REGION_SIZE])
        scratch = shift(floats_at(job[JOB_SCRATCH], size), rank * net[NET_SCRATCH])
        units = workers if shards == 1 else shards
        for unit in range(units * rank // workers, units * (rank + 1) // workers):
            begin, end = count * unit // units, count * (unit + 1) // units
            shard = shift(floats_at(job[JOB_SHARD], size), unit * job[JOB_SHARD_SIZE])
            added, cost = 0, 0.0
            while added == 0 or begin < end:
                rows = rows_of_block(end - begin, net[NET_BLOCK])
                row, at = begin if shards == 1 else 0, position + begin
                loss, spare = shift(losses, begin), shift(floats_at(job[JOB_SPARE], size), begin)
                x, x_row, y, w = read(job, region, at, row, rows)
                if halved != 0:
                    add_halves(job, region, row, rows)
                if net[NET_FACTORS] != 0:
                    call(net[NET_FACTORS], net, job, epoch, at, region, capacity, row, rows)
                call(
                    net[NET_FORWARD],
                    net,
                    theta,
                    packed,
                    zeros,
                    x,
                    x_row,
                    halved,
                    region,
                    capacity,
                    row,
                    rows,
                    1 - fused,
                )
                call(net[NET_BACKWARD], net, theta, wt, transposed, zeros, loss, spare, y, w, weighted, scale, region,
                     capacity, row, rows)  # fmt: skip
                if shards > 1:
                    sums_of_share(net, shard, added, zeros, scratch, x, x_row, region, capacity, rows, 0, 1)
                    cost += total(loss, rows, lanes)
                if job[JOB_UPDATE] != 0 and not_finite(loss, rows, lanes):
                    atomic_store(job, JOB_OUTCOME, DIVERGED)
                if atomic_load(job, JOB_STOP) != 0:
                    atomic_store(job, JOB_OUTCOME, STOPPED)
                    return
                begin, added = begin + rows, 1
            if shards > 1:
                doubles_at(cost_at(job, unit, size))[0] = cost

    return examples
