"""One worker's part of the training step: examples, sums, update, with a meeting of the team after each.

    examples    forward, losses and deltas of the worker's examples
    sums        the gradient of the worker's rows of the weights, over all examples of the mini-batch
    update      theta and the transposed weights of these rows

A large batch of a small network is cut into shards instead, each with a gradient of its own, summed in order. Both
cuts depend on the batch and the network alone, so any number of workers gives the same bits.
"""

import functools

from .backprop import layer_of, range_of_share, share
from .compile import DOUBLE, INT, INTEGERS, VOID, call, call_int, kernel, lanes_of, wide_vectors
from .memory import doubles_at, first, floats_at, gather, integers_at, load, not_finite, shift, store, total
from .subnormals import flush_subnormals, restore_mode
from .sync import atomic_load, atomic_store, meet
from .table import (
    DIVERGED,
    JOB_BATCH,
    JOB_CAPACITY,
    JOB_COSTS,
    JOB_DONE,
    JOB_FEW,
    JOB_FIRST,
    JOB_GRADIENT,
    JOB_LOSSES,
    JOB_MOMENTS,
    JOB_NET,
    JOB_ONE,
    JOB_ORDER,
    JOB_OUTCOME,
    JOB_REGION,
    JOB_REGION_SIZE,
    JOB_ROWS,
    JOB_SCRATCH,
    JOB_SETTINGS,
    JOB_SHARD,
    JOB_SHARD_SIZE,
    JOB_SHARDS,
    JOB_SPARE,
    JOB_STEPS,
    JOB_STOP,
    JOB_THETA,
    JOB_TOTALS,
    JOB_UPDATE,
    JOB_UPDATES,
    JOB_WEIGHTS,
    JOB_WORKERS,
    JOB_WT,
    JOB_X,
    JOB_Y,
    JOB_ZEROS,
    LAYER_IN,
    LAYER_OUT,
    LAYER_STRIDE,
    LAYER_W,
    LAYER_WT,
    NET_BACKWARD,
    NET_BLOCK,
    NET_EXAMPLES,
    NET_FORWARD,
    NET_FUSED,
    NET_GRADIENT_SHARE,
    NET_INPUT_STRIDE,
    NET_INPUTS,
    NET_LAYERS,
    NET_MEAN,
    NET_PARAMETERS,
    NET_ROW,
    NET_SCRATCH,
    NET_SUMS,
    NET_TARGETS,
    NET_TRANSPOSE,
    NET_UPDATE_SHARE,
    NET_WIDEST,
    STOPPED,
)
from .traced import chosen, minimum, traced


@traced
def rows_of_block(left, block, shards):
    """The next examples to pass through all layers: a block, or all that are left instead of one and a small one.

    The region of a shard has no more room than a block.
    """
    most = block + chosen(shards == 1, block // 2, 0)
    return chosen(most < left, block, left)


add = traced(lambda x, y: x + y)
given = traced(lambda address: 1 - (address == 0))


@functools.cache
def examples(size):
    """Forward, losses and deltas of a worker's part of a mini-batch (`count` examples from `position` in the order).

    Overwrites the losses, the region's activations and the shards' gradients. Sets the outcome STOPPED or DIVERGED.
    Examples in an order are copied to the region, others are read where they are.
    """
    lanes = lanes_of(size)

    @kernel(VOID(INT, INTEGERS, INT, INT, DOUBLE), size)
    def examples(rank, job, position, count, scale):
        wide_vectors()
        net, theta = integers_at(job[JOB_NET]), floats_at(job[JOB_THETA], size)
        zeros, one, wt = (
            floats_at(job[JOB_ZEROS], size),
            floats_at(job[JOB_ONE], size),
            floats_at(job[JOB_WT], size),
        )
        X, Y, W = floats_at(job[JOB_X], size), floats_at(job[JOB_Y], size), floats_at(job[JOB_WEIGHTS], size)
        losses, spare = floats_at(job[JOB_LOSSES], size), floats_at(job[JOB_SPARE], size)
        n_in, n_y, x_row, fused = net[NET_INPUTS], net[NET_TARGETS], net[NET_INPUT_STRIDE], net[NET_FUSED]
        shards, workers, capacity, block = (
            job[JOB_SHARDS],
            job[JOB_WORKERS],
            job[JOB_CAPACITY],
            net[NET_BLOCK],
        )
        ordered, weighted, transposed = job[JOB_ORDER] != 0, given(job[JOB_WEIGHTS]), 1 - job[JOB_FEW]
        region = shift(floats_at(job[JOB_REGION], size), rank * job[JOB_REGION_SIZE])
        scratch = shift(floats_at(job[JOB_SCRATCH], size), rank * net[NET_SCRATCH])
        x_region = shift(region, capacity * net[NET_ROW])
        y_region = shift(x_region, capacity * x_row)
        w_region = shift(y_region, capacity * n_y)
        units = workers if shards == 1 else shards
        for unit in range(units * rank // workers, units * (rank + 1) // workers):
            begin, end = count * unit // units, count * (unit + 1) // units
            shard = shift(floats_at(job[JOB_SHARD], size), unit * job[JOB_SHARD_SIZE])
            added = 0
            while added == 0 or begin < end:
                rows = rows_of_block(end - begin, block, shards)
                row = begin if shards == 1 else 0
                at = position + begin
                if ordered:
                    order = shift(integers_at(job[JOB_ORDER]), at)
                    x, y, w = shift(x_region, row * x_row), shift(y_region, row * n_y), shift(w_region, row)
                    gather(x, x_row, X, n_in, order, rows, lanes)
                    gather(y, n_y, Y, n_y, order, rows, lanes)
                    if weighted:
                        gather(w, 1, W, 1, order, rows, lanes)
                else:
                    x, y, w, x_row = shift(X, at * n_in), shift(Y, at * n_y), shift(W, at), n_in
                w = w if weighted else one
                loss = shift(losses, begin)
                call(net[NET_FORWARD], net, theta, wt, transposed, zeros, x, x_row, region, capacity, row, rows,
                     1 - fused)  # fmt: skip
                call(net[NET_BACKWARD], net, theta, wt, transposed, zeros, loss, shift(spare, begin), y, w, weighted,
                     scale, region, capacity, row, rows)  # fmt: skip
                if shards > 1:
                    call(net[NET_SUMS], net, shard, added, zeros, one, scratch, x, x_row, region, capacity, rows, 0, 1)
                if job[JOB_UPDATE] != 0 and not_finite(loss, rows, lanes):
                    atomic_store(job, JOB_OUTCOME, DIVERGED)
                if atomic_load(job, JOB_STOP) != 0:
                    atomic_store(job, JOB_OUTCOME, STOPPED)
                    return
                begin, added = begin + rows, 1

    return examples


@functools.cache
def gradient_share(size):
    """The gradient of a worker's rows of the weights, after `examples`. Overwrites it; sets the outcome DIVERGED."""
    lanes = lanes_of(size)

    @kernel(VOID(INT, INTEGERS, INT, INT), size)
    def gradient_share(rank, job, position, count):
        wide_vectors()
        net, gradient = integers_at(job[JOB_NET]), floats_at(job[JOB_GRADIENT], size)
        shards, workers, capacity = job[JOB_SHARDS], job[JOB_WORKERS], job[JOB_CAPACITY]
        shard, region = floats_at(job[JOB_SHARD], size), floats_at(job[JOB_REGION], size)
        if shards == 1:
            x, x_row = shift(region, capacity * net[NET_ROW]), net[NET_INPUT_STRIDE]
            if job[JOB_ORDER] == 0:
                x, x_row = shift(floats_at(job[JOB_X], size), position * net[NET_INPUTS]), net[NET_INPUTS]
            scratch = shift(floats_at(job[JOB_SCRATCH], size), rank * net[NET_SCRATCH])
            call(net[NET_SUMS], net, gradient, 0, floats_at(job[JOB_ZEROS], size), floats_at(job[JOB_ONE], size),
                 scratch, x, x_row, region, capacity, count, rank, workers)  # fmt: skip
        for l in range(net[NET_LAYERS]):
            begin, end = range_of_share(layer_of(net, l), rank, workers)
            if shards > 1:
                for i in range(begin, end, lanes):
                    mask = first(end - i, lanes)
                    g = load(shift(shard, i), mask)
                    for s in range(1, shards):
                        g = add(g, load(shift(shard, s * job[JOB_SHARD_SIZE] + i), mask))
                    store(shift(gradient, i), g, mask)
            if job[JOB_UPDATE] != 0 and not_finite(shift(gradient, begin), end - begin, lanes):
                atomic_store(job, JOB_OUTCOME + 1, DIVERGED)

    return gradient_share


@functools.cache
def update_share(size):
    """Changes theta and the moments for a worker's rows and overwrites their transposed weights; t = 0: only these.

    Sets the outcome DIVERGED where an element would overflow.
    """

    @kernel(VOID(INT, INTEGERS, INT), size)
    def update_share(rank, job, t):
        net, theta, wt = (
            integers_at(job[JOB_NET]),
            floats_at(job[JOB_THETA], size),
            floats_at(job[JOB_WT], size),
        )
        gradient, moments = floats_at(job[JOB_GRADIENT], size), floats_at(job[JOB_MOMENTS], size)
        settings, workers = doubles_at(job[JOB_SETTINGS]), job[JOB_WORKERS]
        if t > 0:
            for l in range(net[NET_LAYERS]):
                begin, end = range_of_share(layer_of(net, l), rank, workers)
                if call_int(job[JOB_UPDATE], theta, gradient, moments, net[NET_PARAMETERS], begin, end, settings, t):
                    atomic_store(job, JOB_OUTCOME + 2, DIVERGED)
        if job[JOB_FEW] != 0:
            return
        for l in range(1, net[NET_LAYERS]):
            layer = layer_of(net, l)
            low, high = share(layer, rank, workers)
            rows, n_out = minimum(high, layer[LAYER_IN]) - low, layer[LAYER_OUT]
            if rows > 0:
                out, w = shift(wt, layer[LAYER_WT] + low), shift(theta, layer[LAYER_W] + low * n_out)
                call(net[NET_TRANSPOSE], out, layer_of(net, l - 1)[LAYER_STRIDE], w, n_out, rows, n_out)

    return update_share


@functools.cache
def train(size):
    """The worker: all mini-batches of a job (JOB_UPDATE = 0: only the gradient of each), with subnormals as 0."""

    lanes = lanes_of(size)

    @kernel(VOID(INT, INTEGERS), size)
    def train(rank, job):
        net, losses = integers_at(job[JOB_NET]), floats_at(job[JOB_LOSSES], size)
        zeros, one = floats_at(job[JOB_ZEROS], size), floats_at(job[JOB_ONE], size)
        costs, totals = doubles_at(job[JOB_COSTS]), doubles_at(job[JOB_TOTALS])
        mode = flush_subnormals()
        rows, batch = job[JOB_ROWS], job[JOB_BATCH]
        per_epoch = (rows + batch - 1) // batch
        if rank == 0:
            for i in range(net[NET_WIDEST]):
                zeros[i] = 0.0
            one[0] = 1.0
        call(net[NET_UPDATE_SHARE], rank, job, 0)
        for s in range(job[JOB_STEPS]):
            if not meet(job, 3 * s + 1):
                break
            begin = (job[JOB_FIRST] + s) % per_epoch * batch
            position = (job[JOB_FIRST] + s) // per_epoch * rows if job[JOB_ORDER] != 0 else 0
            count, scale = minimum(batch, rows - begin), 1.0
            if net[NET_MEAN] != 0:
                scale = 1.0 / totals[s] if totals[s] > 0.0 else 0.0
            call(net[NET_EXAMPLES], rank, job, position + begin, count, scale)
            if not meet(job, 3 * s + 2):
                break
            if rank == 0:
                costs[s] = total(losses, count, lanes) * scale
            call(net[NET_GRADIENT_SHARE], rank, job, position + begin, count)
            if not meet(job, 3 * s + 3):
                break
            if job[JOB_UPDATE] != 0:
                call(net[NET_UPDATE_SHARE], rank, job, job[JOB_UPDATES] + s + 1)
            if rank == 0:
                job[JOB_DONE] = s + 1
        restore_mode(mode)

    return train
