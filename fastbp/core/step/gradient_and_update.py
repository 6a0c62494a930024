"""What a worker does with its rows of the weights, after the examples: their gradient, and the update of theta.

In two phases with a meeting between them, `gradient_share` and `update_share`, where somebody has to see all of the
gradient before theta changes; else in one, `learn_share`.
"""

import functools

from fastbp.core.ir.atomics import atomic_store
from fastbp.core.ir.kernel import INT, INTEGERS, VOID, call, call_int, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import doubles_at, first, floats_at, integers_at, load, not_finite, shift, store
from fastbp.core.ir.traced import minimum, plus
from fastbp.core.layers.forward_backward import layer_of, place, range_of_share, share, sums_of_share
from fastbp.core.slots import (
    AFTER_SUMS,
    AFTER_UPDATE,
    DIVERGED,
    JOB_CAPACITY,
    JOB_CLIP,
    JOB_DIRECT,
    JOB_FEW,
    JOB_GRADIENT,
    JOB_MOMENTS,
    JOB_NET,
    JOB_OUTCOME,
    JOB_PACKED,
    JOB_REGION,
    JOB_SCRATCH,
    JOB_SETTINGS,
    JOB_SETTINGS_ROW,
    JOB_SHARD,
    JOB_SHARD_SIZE,
    JOB_SHARDS,
    JOB_SQUARE,
    JOB_STRIPS,
    JOB_THETA,
    JOB_UPDATE,
    JOB_WORKERS,
    JOB_WT,
    JOB_X,
    JOB_ZEROS,
    LAYER_DROPPED,
    LAYER_IN,
    LAYER_OUT,
    LAYER_PACKED,
    LAYER_STRIDE,
    LAYER_STRIP,
    LAYER_W,
    LAYER_WT,
    NET_LAYERS,
    NET_PACK,
    NET_PARAMETERS,
    NET_PENALTY,
    NET_SCRATCH,
    NET_STRIP,
    NET_SUMS,
    NET_TRANSPOSE,
)
from fastbp.core.step.examples import inputs_of, rows_of_block


def adding_shards(size):
    """(job, out, begin, end): the gradient of the elements begin … end - 1 of theta is all shards', for `inline`.

    Overwrites out, which begins with element `begin`.
    """
    lanes = lanes_of(size)

    @inline
    def add_shards(job, out, begin, end):
        shard = floats_at(job[JOB_SHARD], size)
        for i in range(begin, end, lanes):
            mask = first(end - i, lanes)
            g = load(shift(shard, i), mask)
            for s in range(1, job[JOB_SHARDS]):
                g = plus(g, load(shift(shard, s * job[JOB_SHARD_SIZE] + i), mask))
            store(shift(out, i - begin), g, mask)

    return add_shards


def updating(size):
    """(job, l, gradient, low, high, s): rows low … high - 1 of layer l make step s of the job, for `inline`.

    Changes theta and the moments by the gradient, which begins with row `low`, and overwrites the rows' transposed
    and packed weights; s = -1: only these. Sets the outcome DIVERGED where an element would not be finite, and keeps
    that.
    """

    @inline
    def update_rows(job, l, gradient, low, high, s):
        net, theta = integers_at(job[JOB_NET]), floats_at(job[JOB_THETA], size)
        layer = layer_of(net, l)
        n_in, n_out = layer[LAYER_IN], layer[LAYER_OUT]
        begin = layer[LAYER_W] + low * n_out
        if s >= 0:
            moments, biases = floats_at(job[JOB_MOMENTS], size), layer[LAYER_W] + n_in * n_out
            settings = shift(doubles_at(job[JOB_SETTINGS]), s * job[JOB_SETTINGS_ROW])
            g, end = shift(gradient, -begin), layer[LAYER_W] + high * n_out
            if call_int(job[JOB_UPDATE], theta, g, moments, net[NET_PARAMETERS], begin, end, biases, settings):
                atomic_store(job, JOB_OUTCOME + AFTER_UPDATE, DIVERGED)
        rows = minimum(high, n_in) - low
        if rows > 0 and l > 0 and job[JOB_FEW] == 0:
            wt = shift(floats_at(job[JOB_WT], size), layer[LAYER_WT] + low)
            stride = layer_of(net, l - 1)[LAYER_STRIDE]
            call(net[NET_TRANSPOSE], wt, stride, shift(theta, begin), n_out, rows, n_out)
        if rows > 0 and job[JOB_PACKED] != 0 and layer[LAYER_PACKED] >= 0:
            packed = shift(floats_at(job[JOB_PACKED], size), layer[LAYER_PACKED])
            call(net[NET_PACK], packed, shift(theta, begin), n_in, n_out, low, low + rows)

    return update_rows


@functools.cache
def gradient_share(size):
    """The gradient of a worker's rows of the weights, after `examples`. Overwrites it; sets the outcome DIVERGED."""
    lanes, add_shards = lanes_of(size), adding_shards(size)

    @kernel(VOID(INT, INTEGERS, INT, INT), size)
    def gradient_share(rank, job, position, count):
        wide_vectors()
        net, gradient = integers_at(job[JOB_NET]), floats_at(job[JOB_GRADIENT], size)
        shards, workers, capacity = job[JOB_SHARDS], job[JOB_WORKERS], job[JOB_CAPACITY]
        if shards == 1:
            region = floats_at(job[JOB_REGION], size)
            x, x_row = inputs_of(job, floats_at(job[JOB_X], size), region, position)
            zeros = floats_at(job[JOB_ZEROS], size)
            scratch = shift(floats_at(job[JOB_SCRATCH], size), rank * net[NET_SCRATCH])
            sums_of_share(net, gradient, 0, zeros, scratch, x, x_row, region, capacity, count, rank, workers)
        for l in range(net[NET_LAYERS]):
            begin, end = range_of_share(layer_of(net, l), rank, workers)
            if shards > 1:
                add_shards(job, shift(gradient, begin), begin, end)
            if job[JOB_UPDATE] != 0 and not_finite(shift(gradient, begin), end - begin, lanes):
                atomic_store(job, JOB_OUTCOME + AFTER_SUMS, DIVERGED)
        if net[NET_PENALTY] != 0:
            call(net[NET_PENALTY], rank, job)
        if job[JOB_SQUARE] != 0:
            call(job[JOB_SQUARE], rank, job)

    return gradient_share


@functools.cache
def update_share(size):
    """Step s of a worker's rows, after `gradient_share` of all workers; s = -1: only the copies of their weights."""
    update_rows = updating(size)

    @kernel(VOID(INT, INTEGERS, INT), size)
    def update_share(rank, job, s):
        net, gradient = integers_at(job[JOB_NET]), floats_at(job[JOB_GRADIENT], size)
        if s >= 0 and job[JOB_CLIP] != 0:
            call(job[JOB_CLIP], rank, job)
        for l in range(net[NET_LAYERS]):
            layer = layer_of(net, l)
            low, high = share(layer, rank, job[JOB_WORKERS])
            if low < high:
                update_rows(job, l, shift(gradient, layer[LAYER_W] + low * layer[LAYER_OUT]), low, high, s)

    return update_share


@functools.cache
def learn_share(size):
    """The gradient and step s of a worker's rows, after `examples`, strip by strip. Overwrites scratch and strip.

    With JOB_DIRECT the sums are added to theta.
    """
    add_shards, update_rows = adding_shards(size), updating(size)

    @kernel(VOID(INT, INTEGERS, INT, INT, INT), size)
    def learn_share(rank, job, position, count, s):
        wide_vectors()
        net, theta = integers_at(job[JOB_NET]), floats_at(job[JOB_THETA], size)
        zeros, region = floats_at(job[JOB_ZEROS], size), floats_at(job[JOB_REGION], size)
        capacity, workers = job[JOB_CAPACITY], job[JOB_WORKERS]
        scratch = shift(floats_at(job[JOB_SCRATCH], size), rank * net[NET_SCRATCH])
        strip = shift(floats_at(job[JOB_STRIPS], size), rank * net[NET_STRIP])
        x, x_row = inputs_of(job, floats_at(job[JOB_X], size), region, position)
        if job[JOB_DIRECT] != 0:
            sums_of_share(net, theta, 1, zeros, scratch, x, x_row, region, capacity, count, rank, workers)
            return
        for l in range(net[NET_LAYERS]):
            layer = layer_of(net, l)
            low, high = share(layer, rank, workers)
            while low < high:
                end = low + rows_of_block(high - low, layer[LAYER_STRIP])
                if job[JOB_SHARDS] == 1:
                    call(
                        net[NET_SUMS], net, layer, strip, 0, zeros, scratch, x, x_row, region, capacity, count, low, end
                    )
                else:
                    at, n_out = layer[LAYER_W], layer[LAYER_OUT]
                    add_shards(job, strip, at + low * n_out, at + end * n_out)
                update_rows(job, l, strip, low, end, s)
                low = end
            x, x_row = place(region, capacity, 0, layer, LAYER_DROPPED), layer[LAYER_STRIDE]

    return learn_share
