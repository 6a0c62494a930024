"""Penalties on the weights (not the biases): l1 Σ|w| + ½ l2 Σ w² is added to the cost of each mini-batch."""

import functools

from fastbp.core.ir.atomics import atomic_store
from fastbp.core.ir.kernel import INT, INTEGERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import (
    address_of,
    doubles_at,
    fill,
    first,
    floats_at,
    integers_at,
    load,
    not_finite,
    shift,
    store,
)
from fastbp.core.ir.traced import absolute, select, sum_of, traced, widened
from fastbp.core.layers.forward_backward import layer_of, range_of_share, share
from fastbp.core.slots import (
    AFTER_SUMS,
    DIVERGED,
    JOB_GRADIENT,
    JOB_NET,
    JOB_OUTCOME,
    JOB_PENALTIES,
    JOB_THETA,
    JOB_UPDATE,
    JOB_WORKERS,
    LAYER_B,
    LAYER_IN,
    LAYER_OUT,
    LAYER_W,
    NET_L1,
    NET_L2,
    NET_LAYERS,
)


@traced
def penalised(w, g, so_far, l1, l2):
    """g + l1 sign w + l2 w, and l1 |w| + ½ l2 w² added to the sum so far, which is in float64."""
    sign = select(w > 0.0, 1.0, select(w < 0.0, w.constant(-1.0), 0.0))
    size = widened(absolute(w))
    return g + l2 * w + l1 * sign, so_far + size * (l2 * (0.5 * size) + l1)


@functools.cache
def penalty(size):
    """Adds the penalty's gradient to a worker's rows of the weights, and overwrites what the penalty is in each row.

    Whoever adds these rows in order gets the same bits for any number of workers. May set the outcome DIVERGED.
    """
    lanes = lanes_of(size)

    @kernel(VOID(INT, INTEGERS), size)
    def penalty(rank, job):
        wide_vectors()
        net, theta, gradient = (
            integers_at(job[JOB_NET]),
            floats_at(job[JOB_THETA], size),
            floats_at(job[JOB_GRADIENT], size),
        )
        numbers, penalties = doubles_at(address_of(net)), doubles_at(job[JOB_PENALTIES])
        l1, l2 = numbers[NET_L1], numbers[NET_L2]
        for l in range(net[NET_LAYERS]):
            layer = layer_of(net, l)
            low, high = share(layer, rank, job[JOB_WORKERS])
            n_in, n_out = layer[LAYER_IN], layer[LAYER_OUT]
            for k in range(low, high):
                row = fill(penalties, 0.0, lanes)
                for i in range(0, n_out if k < n_in else 0, lanes):
                    at, mask = layer[LAYER_W] + k * n_out + i, first(n_out - i, lanes)
                    dw = shift(gradient, at)
                    g, row = penalised(load(shift(theta, at), mask), load(dw, mask), row, l1, l2)
                    store(dw, g, mask)
                penalties[k] = sum_of(row)
            begin, end = range_of_share(layer, rank, job[JOB_WORKERS])
            if job[JOB_UPDATE] != 0 and (
                not_finite(shift(gradient, begin), end - begin, lanes)
                or not_finite(shift(penalties, low), high - low, lanes)
            ):
                atomic_store(job, JOB_OUTCOME + AFTER_SUMS, DIVERGED)
            penalties = shift(penalties, n_in + (layer[LAYER_B] >= 0))

    return penalty
