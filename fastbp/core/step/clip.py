"""Clipping by the global norm: g ← g min(1, clip_norm / ‖g‖), ‖g‖ over all parameters (Pascanu et al., ICML 2013)."""

import functools
import math

from fastbp.core.ir.kernel import INT, INTEGERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import address_of, doubles_at, fill, first, floats_at, integers_at, load, shift, store, total
from fastbp.core.ir.traced import sum_of, traced, widened
from fastbp.core.layers.forward_backward import layer_of, range_of_share, share
from fastbp.core.slots import (
    JOB_CLIP_NORM,
    JOB_GRADIENT,
    JOB_NET,
    JOB_SQUARES,
    JOB_WORKERS,
    LAYER_B,
    LAYER_IN,
    LAYER_OUT,
    LAYER_W,
    NET_LAYERS,
    NET_ROWS,
)


@traced
def plus_square(so_far, g):
    """g² added to the sum so far, which is in float64."""
    wide = widened(g)
    return so_far + wide * wide


scaled = traced(lambda g, factor: factor * g)


@functools.cache
def squares(size):
    """Overwrites Σ g² of each of a worker's rows: before the meeting after which every worker adds up all rows."""
    lanes = lanes_of(size)

    @kernel(VOID(INT, INTEGERS), size)
    def squares(rank, job):
        wide_vectors()
        net, gradient, rows = (
            integers_at(job[JOB_NET]),
            floats_at(job[JOB_GRADIENT], size),
            doubles_at(job[JOB_SQUARES]),
        )
        for l in range(net[NET_LAYERS]):
            layer = layer_of(net, l)
            low, high = share(layer, rank, job[JOB_WORKERS])
            n_out = layer[LAYER_OUT]
            for k in range(low, high):
                row = fill(rows, 0.0, lanes)
                for i in range(0, n_out, lanes):
                    row = plus_square(
                        row, load(shift(gradient, layer[LAYER_W] + k * n_out + i), first(n_out - i, lanes))
                    )
                rows[k] = sum_of(row)
            rows = shift(rows, layer[LAYER_IN] + (layer[LAYER_B] >= 0))

    return squares


@functools.cache
def clip(size):
    """Scales a worker's rows of the gradient, after `squares` of all workers, which add them in the same order."""
    lanes = lanes_of(size)

    @kernel(VOID(INT, INTEGERS), size)
    def clip(rank, job):
        wide_vectors()
        net, gradient = integers_at(job[JOB_NET]), floats_at(job[JOB_GRADIENT], size)
        most = doubles_at(address_of(job))[JOB_CLIP_NORM]
        norm = math.sqrt(total(doubles_at(job[JOB_SQUARES]), net[NET_ROWS], lanes))
        if norm <= most:
            return
        for l in range(net[NET_LAYERS]):
            begin, end = range_of_share(layer_of(net, l), rank, job[JOB_WORKERS])
            for i in range(begin, end, lanes):
                mask, g = first(end - i, lanes), shift(gradient, i)
                store(g, scaled(load(g, mask), most / norm), mask)

    return clip
