"""Penalties on the weights (not the biases): l1 Σ|w| + ½ l2 Σ w² is added to the cost of each mini-batch."""

import functools

from fastbp.core.ir.atomics import atomic_store
from fastbp.core.ir.kernel import INT, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import (
    fill,
    first,
    floats_at,
    load,
    not_finite,
    shift,
    store,
)
from fastbp.core.ir.traced import absolute, select, sum_of, traced, widened
from fastbp.core.layers.forward_backward import range_of_share, share
from fastbp.core.slots import AFTER_GRADIENT, DIVERGED, JOB, layer_of


@traced
def penalised(w, g, so_far, l1, l2):
    """g + l1 sign w + l2 w, and l1 |w| + ½ l2 w² added to the sum so far, which is in float64."""
    sign = select(w > 0.0, 1.0, select(w < 0.0, w.constant(-1.0), 0.0))
    size = widened(absolute(w))
    return g + l2 * w + l1 * sign, so_far + size * (l2 * (0.5 * size) + l1)


@functools.cache
def penalty(size):
    """Adds the penalty's gradient to a worker's rows of the weights, if they are not frozen, and overwrites what the
    penalty is in each row.

    Added in order, these rows give the same bits for any number of workers. May set the outcome DIVERGED.
    """
    lanes = lanes_of(size)

    @kernel(VOID(INT, JOB), size)
    def penalty(rank, job):
        wide_vectors()
        net, theta, gradient = job.net, floats_at(job.theta, size), floats_at(job.gradient, size)
        penalties, l1, l2 = job.penalties, net.l1, net.l2
        for l in range(net.layers):
            layer = layer_of(net, l)
            low, high = share(layer, rank, job.workers)
            n_in, n_out = layer.n_in, layer.n_out
            for k in range(low, high):
                row = fill(penalties, 0.0, lanes)
                for i in range(0, n_out if k < n_in else 0, lanes):
                    at, mask = layer.w + k * n_out + i, first(n_out - i, lanes)
                    dw = shift(gradient, at)
                    g, row = penalised(load(shift(theta, at), mask), load(dw, mask), row, l1, l2)
                    if layer.frozen == 0:
                        store(dw, g, mask)
                penalties[k] = sum_of(row)
            begin, end = range_of_share(layer, rank, job.workers)
            if job.update != 0 and (
                not_finite(shift(gradient, begin), end - begin, lanes)
                or not_finite(shift(penalties, low), high - low, lanes)
            ):
                atomic_store(job.outcomes, AFTER_GRADIENT, DIVERGED)
            penalties = shift(penalties, n_in + (layer.b >= 0))

    return penalty
