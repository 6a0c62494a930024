"""A worker's share of the weights, a range of rows, after the examples: their gradient and their update.

In two phases, `gradient_share` and `update_share`, where a kernel needs the whole gradient before theta changes; else
in one, `gradient_and_update_share`.
"""

import functools

from fastbp.core.ir.atomics import atomic_store
from fastbp.core.ir.kernel import INT, VOID, call, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import first, floats_at, load, not_finite, shift, store
from fastbp.core.ir.traced import minimum, plus
from fastbp.core.layers import calls
from fastbp.core.layers.forward_backward import place, range_of_share, share, sums_of_share
from fastbp.core.slots import AFTER_GRADIENT, AFTER_UPDATE, DIVERGED, JOB, layer_of
from fastbp.core.step.examples import inputs_of, rows_of_block


def adding_shards(size):
    """(job, out, begin, end): adds up the shards' gradients of the elements begin … end - 1 of theta, for `inline`.

    Overwrites out, which begins with element `begin`.
    """
    lanes = lanes_of(size)

    @inline
    def add_shards(job, out, begin, end):
        shard = floats_at(job.shard, size)
        for i in range(begin, end, lanes):
            mask = first(end - i, lanes)
            g = load(shift(shard, i), mask)
            for s in range(1, job.shards):
                g = plus(g, load(shift(shard, s * job.shard_size + i), mask))
            store(shift(out, i - begin), g, mask)

    return add_shards


def updating(size):
    """(job, l, gradient, low, high, s): step s of the job for rows low … high - 1 of layer l, for `inline`.

    Updates theta and the moments by the gradient, which begins with row `low`, and overwrites the rows' transposed and
    packed weights; s = -1: only these. An element that would not be finite keeps its value; the outcome is DIVERGED.
    """

    @inline
    def update_rows(job, l, gradient, low, high, s):
        net, theta = job.net, floats_at(job.theta, size)
        layer = layer_of(net, l)
        n_in, n_out = layer.n_in, layer.n_out
        begin = layer.w + low * n_out
        if s >= 0:
            moments, biases = floats_at(job.moments, size), layer.w + n_in * n_out
            settings = shift(job.settings, s * job.settings_row)
            g, end = shift(gradient, -begin), layer.w + high * n_out
            if calls.update(job, (theta, g, moments, net.parameters), (begin, end, biases), settings):
                atomic_store(job.outcomes, AFTER_UPDATE, DIVERGED)
        rows = minimum(high, n_in) - low
        if rows > 0 and (l > 0 or net.directions != 0) and job.few == 0:
            wt = shift(floats_at(job.wt, size), layer.wt + low)
            stride = layer_of(net, l - 1).stride if l > 0 else net.input_stride
            calls.transpose(net, (wt, stride), (shift(theta, begin), n_out), (rows, n_out))
        if rows > 0 and job.packed != 0 and layer.packed >= 0:
            packed = shift(floats_at(job.packed, size), layer.packed)
            calls.pack(net, packed, shift(theta, begin), (n_in, n_out), (low, low + rows))

    return update_rows


@functools.cache
def gradient_share(size):
    """The gradient of a worker's rows of the weights, after `examples`. Overwrites it; sets the outcome DIVERGED."""
    lanes, add_shards = lanes_of(size), adding_shards(size)

    @kernel(VOID(INT, JOB, INT, INT), size)
    def gradient_share(rank, job, position, count):
        wide_vectors()
        net, gradient = job.net, floats_at(job.gradient, size)
        shards, workers, capacity = job.shards, job.workers, job.capacity
        if shards == 1:
            region = floats_at(job.region, size)
            x, x_row = inputs_of(job, floats_at(job.x, size), region, position)
            zeros = floats_at(job.zeros, size)
            scratch = shift(floats_at(job.scratch, size), rank * net.scratch)
            sums_of_share(net, gradient, 0, zeros, scratch, x, x_row, region, capacity, count, rank, workers)
        for l in range(net.layers):
            begin, end = range_of_share(layer_of(net, l), rank, workers)
            if layer_of(net, l).frozen != 0:
                for i in range(begin, end):
                    gradient[i] = 0.0
            elif shards > 1:
                add_shards(job, shift(gradient, begin), begin, end)
            if job.update != 0 and not_finite(shift(gradient, begin), end - begin, lanes):
                atomic_store(job.outcomes, AFTER_GRADIENT, DIVERGED)
        if net.penalty != 0:
            call(net.penalty, rank, job)
        if job.sum_squares != 0:
            call(job.sum_squares, rank, job)

    return gradient_share


@functools.cache
def update_share(size):
    """Step s of a worker's rows, after `gradient_share` of all workers; s = -1: only the copies of their weights."""
    update_rows = updating(size)

    @kernel(VOID(INT, JOB, INT), size)
    def update_share(rank, job, s):
        net, gradient = job.net, floats_at(job.gradient, size)
        if s >= 0 and job.clip != 0:
            call(job.clip, rank, job)
        for l in range(net.layers):
            layer = layer_of(net, l)
            low, high = share(layer, rank, job.workers)
            if low < high and (s < 0 or layer.frozen == 0):
                update_rows(job, l, shift(gradient, layer.w + low * layer.n_out), low, high, s)

    return update_share


@functools.cache
def gradient_and_update_share(size):
    """The gradient and step s of a worker's rows, after `examples`, one strip of rows at a time.

    Overwrites scratch and strip. With job.in_place it adds the sums to theta instead.
    """
    add_shards, update_rows = adding_shards(size), updating(size)

    @kernel(VOID(INT, JOB, INT, INT, INT), size)
    def gradient_and_update_share(rank, job, position, count, s):
        wide_vectors()
        net, theta = job.net, floats_at(job.theta, size)
        zeros, region = floats_at(job.zeros, size), floats_at(job.region, size)
        capacity, workers = job.capacity, job.workers
        scratch = shift(floats_at(job.scratch, size), rank * net.scratch)
        strip = shift(floats_at(job.strips, size), rank * net.strip)
        x, x_row = inputs_of(job, floats_at(job.x, size), region, position)
        if job.in_place != 0:
            sums_of_share(net, theta, 1, zeros, scratch, x, x_row, region, capacity, count, rank, workers)
            return
        for l in range(net.layers):
            layer = layer_of(net, l)
            low, high = share(layer, rank, workers)
            while low < high and layer.frozen == 0:
                end = low + rows_of_block(high - low, layer.strip)
                if job.shards == 1:
                    calls.sums(
                        net, layer, (strip, 0), (zeros, scratch), (x, x_row), (region, capacity, count), (low, end)
                    )
                else:
                    at, n_out = layer.w, layer.n_out
                    add_shards(job, strip, at + low * n_out, at + end * n_out)
                update_rows(job, l, strip, low, end, s)
                low = end
            x, x_row = place(region, capacity, 0, layer, layer.dropped), layer.stride

    return gradient_and_update_share
