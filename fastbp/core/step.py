"""One worker's part of the training step: examples, sums, update, with a meeting of the team after each.

    halves      only for a first layer with many weights: its forward sums over the inputs whose weights the worker owns
    examples    forward, losses and deltas of the worker's examples
    sums        the gradient of the worker's rows of the weights, over all examples of the mini-batch
    update      theta and the transposed weights of these rows

In plain gradient descent by a few examples the sums go to theta at once, after one more meeting: see online.py.

A large batch of a small network is cut into shards instead, each with a gradient of its own, summed in order. Both
cuts depend on the batch and the network alone, so any number of workers gives the same bits.
"""

import functools

from .backprop import layer_of, range_of_share, share
from .compile import INT, INTEGERS, VOID, call, call_int, inline, kernel, lanes_of, wide_vectors
from .examples import cost_at, inputs_of
from .memory import doubles_at, first, floats_at, integers_at, load, not_finite, shift, store, total
from .subnormals import flush_subnormals, restore_mode
from .sync import atomic_store, meet
from .table import (
    AFTER_EXAMPLES,
    AFTER_SUMS,
    AFTER_UPDATE,
    DIVERGED,
    JOB_BATCH,
    JOB_CAPACITY,
    JOB_CLIP,
    JOB_COSTS,
    JOB_DIRECT,
    JOB_DONE,
    JOB_FEW,
    JOB_FIRST,
    JOB_GRADIENT,
    JOB_HALVES,
    JOB_LOSSES,
    JOB_MOMENTS,
    JOB_NET,
    JOB_ONE,
    JOB_ONLINE,
    JOB_ORDER,
    JOB_OUTCOME,
    JOB_PENALTIES,
    JOB_REGION,
    JOB_ROWS,
    JOB_SCRATCH,
    JOB_SETTINGS,
    JOB_SETTINGS_ROW,
    JOB_SHARD,
    JOB_SHARD_SIZE,
    JOB_SHARDS,
    JOB_SQUARE,
    JOB_STEPS,
    JOB_THETA,
    JOB_TOTALS,
    JOB_UPDATE,
    JOB_WORKERS,
    JOB_WT,
    JOB_X,
    JOB_ZEROS,
    LAYER_IN,
    LAYER_OUT,
    LAYER_STRIDE,
    LAYER_W,
    LAYER_WT,
    NET_EXAMPLES,
    NET_GRADIENT_SHARE,
    NET_HALVES,
    NET_LAYERS,
    NET_MEAN,
    NET_PARAMETERS,
    NET_PENALTY,
    NET_ROWS,
    NET_SCRATCH,
    NET_SUMS,
    NET_TRANSPOSE,
    NET_UPDATE_SHARE,
    NET_WIDEST,
)
from .traced import minimum, plus


@functools.cache
def gradient_share(size):
    """The gradient of a worker's rows of the weights, after `examples`. Overwrites it; sets the outcome DIVERGED.

    With JOB_DIRECT it is added to theta instead.
    """
    lanes = lanes_of(size)

    @kernel(VOID(INT, INTEGERS, INT, INT), size)
    def gradient_share(rank, job, position, count):
        wide_vectors()
        net, gradient = integers_at(job[JOB_NET]), floats_at(job[JOB_GRADIENT], size)
        shards, workers, capacity = job[JOB_SHARDS], job[JOB_WORKERS], job[JOB_CAPACITY]
        shard, region = floats_at(job[JOB_SHARD], size), floats_at(job[JOB_REGION], size)
        if shards == 1:
            x, x_row = inputs_of(job, floats_at(job[JOB_X], size), region, position)
            scratch = shift(floats_at(job[JOB_SCRATCH], size), rank * net[NET_SCRATCH])
            zeros, direct = floats_at(job[JOB_ZEROS], size), job[JOB_DIRECT]
            out = floats_at(job[JOB_THETA], size) if direct else gradient
            call(net[NET_SUMS], net, out, direct, zeros, scratch, x, x_row, region, capacity, count, rank, workers)
            if direct:
                return
        for l in range(net[NET_LAYERS]):
            begin, end = range_of_share(layer_of(net, l), rank, workers)
            if shards > 1:
                for i in range(begin, end, lanes):
                    mask = first(end - i, lanes)
                    g = load(shift(shard, i), mask)
                    for s in range(1, shards):
                        g = plus(g, load(shift(shard, s * job[JOB_SHARD_SIZE] + i), mask))
                    store(shift(gradient, i), g, mask)
            elif job[JOB_UPDATE] != 0 and not_finite(shift(gradient, begin), end - begin, lanes):
                atomic_store(job, JOB_OUTCOME + AFTER_SUMS, DIVERGED)
        if net[NET_PENALTY] != 0:
            call(net[NET_PENALTY], rank, job)
        if job[JOB_SQUARE] != 0:
            call(job[JOB_SQUARE], rank, job)

    return gradient_share


@functools.cache
def update_share(size):
    """Changes theta and the moments for a worker's rows by step s of the job, and overwrites their transposed weights;
    s = -1: only these.

    Sets the outcome DIVERGED where an element would overflow.
    """

    @kernel(VOID(INT, INTEGERS, INT), size)
    def update_share(rank, job, s):
        net, theta, wt = (
            integers_at(job[JOB_NET]),
            floats_at(job[JOB_THETA], size),
            floats_at(job[JOB_WT], size),
        )
        gradient, moments = floats_at(job[JOB_GRADIENT], size), floats_at(job[JOB_MOMENTS], size)
        workers = job[JOB_WORKERS]
        if s >= 0:
            if job[JOB_CLIP] != 0:
                call(job[JOB_CLIP], rank, job)
            settings = shift(doubles_at(job[JOB_SETTINGS]), s * job[JOB_SETTINGS_ROW])
            for l in range(net[NET_LAYERS]):
                layer = layer_of(net, l)
                begin, end = range_of_share(layer, rank, workers)
                biases = layer[LAYER_W] + layer[LAYER_IN] * layer[LAYER_OUT]
                if call_int(job[JOB_UPDATE], theta, gradient, moments, net[NET_PARAMETERS], begin, end, biases,
                            settings):  # fmt: skip
                    atomic_store(job, JOB_OUTCOME + AFTER_UPDATE, DIVERGED)
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


@inline
def batch_of(job, s):
    """Epoch, first place in the order, examples and factor of their losses, of the mini-batch of step s."""
    rows, batch, totals = job[JOB_ROWS], job[JOB_BATCH], doubles_at(job[JOB_TOTALS])
    per_epoch, scale = (rows + batch - 1) // batch, 1.0
    epoch, begin = (job[JOB_FIRST] + s) // per_epoch, (job[JOB_FIRST] + s) % per_epoch * batch
    position = begin + epoch * rows if job[JOB_ORDER] != 0 else begin
    if integers_at(job[JOB_NET])[NET_MEAN] != 0:
        scale = 1.0 / totals[s] if totals[s] > 0.0 else 0.0
    return epoch, position, minimum(batch, rows - begin), scale


def summing(size):
    """(job, count) -> the sum of a mini-batch's losses, for `inline`."""
    lanes = lanes_of(size)

    @inline
    def cost_of(job, count):
        if job[JOB_SHARDS] == 1:
            return total(floats_at(job[JOB_LOSSES], size), count, lanes)
        cost = 0.0
        for shard in range(job[JOB_SHARDS]):
            cost += doubles_at(cost_at(job, shard, size))[0]
        return cost

    return cost_of


def deciding(size):
    """(job, position, count, s) -> whether the sums of this step go to theta, for `inline`: see online.py."""

    @inline
    def made_online(job, position, count, s):
        net, region = integers_at(job[JOB_NET]), floats_at(job[JOB_REGION], size)
        x, x_row = inputs_of(job, floats_at(job[JOB_X], size), region, position)
        rate = doubles_at(job[JOB_SETTINGS])[s * job[JOB_SETTINGS_ROW]]
        return call_int(job[JOB_ONLINE], net, x, x_row, region, job[JOB_CAPACITY], count, rate)

    return made_online


@functools.cache
def train(size):
    """The worker: all mini-batches of a job (JOB_UPDATE = 0: only the gradient of each), with subnormals as 0."""
    lanes, cost_of, made_online = lanes_of(size), summing(size), deciding(size)

    @kernel(VOID(INT, INTEGERS), size)
    def train(rank, job):
        net, costs = integers_at(job[JOB_NET]), doubles_at(job[JOB_COSTS])
        zeros, one = floats_at(job[JOB_ZEROS], size), floats_at(job[JOB_ONE], size)
        mode = flush_subnormals()
        if rank == 0:
            for i in range(net[NET_WIDEST]):
                zeros[i] = 0.0
            one[0] = 1.0
        call(net[NET_UPDATE_SHARE], rank, job, -1)
        # what is added up of shards is updated at once, if nobody has to see all of the gradient before
        at_once = job[JOB_SHARDS] > 1 and net[NET_PENALTY] == 0 and job[JOB_SQUARE] == 0
        meeting = 0
        for s in range(job[JOB_STEPS]):
            meeting += 1
            if not meet(job, meeting, AFTER_UPDATE):
                break
            epoch, position, count, scale = batch_of(job, s)
            if job[JOB_HALVES] != 0:
                call(net[NET_HALVES], rank, job, position, count)
                meeting += 1
                if not meet(job, meeting, AFTER_UPDATE):
                    break
            call(net[NET_EXAMPLES], rank, job, epoch, position, count, scale)
            meeting += 1
            if not meet(job, meeting, AFTER_EXAMPLES):
                break
            if rank == 0:
                costs[s] = cost_of(job, count) * scale
            if job[JOB_ONLINE] != 0:
                if rank == 0:
                    job[JOB_DIRECT] = made_online(job, position, count, s)
                meeting += 1
                if not meet(job, meeting, AFTER_EXAMPLES):
                    break
            call(net[NET_GRADIENT_SHARE], rank, job, position, count)
            direct = job[JOB_DIRECT] != 0
            if not at_once and not direct:
                meeting += 1
                if not meet(job, meeting, AFTER_SUMS):
                    break
            if rank == 0 and net[NET_PENALTY] != 0:
                costs[s] += total(doubles_at(job[JOB_PENALTIES]), net[NET_ROWS], lanes)
            if job[JOB_UPDATE] != 0 and not direct:
                call(net[NET_UPDATE_SHARE], rank, job, s)
            if rank == 0:
                job[JOB_DONE] = s + 1
        restore_mode(mode)

    return train
