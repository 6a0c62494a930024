"""Clipping by the global norm: g ← g min(1, clip_norm / ‖g‖), ‖g‖ over all parameters (Pascanu et al., ICML 2013)."""

import functools
import math

from fastbp.core.ir.kernel import INT, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import fill, first, floats_at, load, shift, store, total
from fastbp.core.ir.traced import sum_of, traced, widened
from fastbp.core.layers.forward_backward import range_of_share, share
from fastbp.core.slots import JOB, layer_of


@traced
def plus_square(so_far, g):
    """g² added to the sum so far, which is in float64."""
    wide = widened(g)
    return so_far + wide * wide


scaled = traced(lambda g, factor: factor * g)


@functools.cache
def sum_squares(size):
    """Overwrites Σ g² of each of a worker's rows; after the next barrier every worker adds up all rows."""
    lanes = lanes_of(size)

    @kernel(VOID(INT, JOB), size)
    def sum_squares(rank, job):
        wide_vectors()
        net, gradient, rows = job.net, floats_at(job.gradient, size), job.row_squares
        for l in range(net.layers):
            layer = layer_of(net, l)
            low, high = share(layer, rank, job.workers)
            n_out = layer.n_out
            for k in range(low, high):
                row = fill(rows, 0.0, lanes)
                for i in range(0, n_out, lanes):
                    row = plus_square(row, load(shift(gradient, layer.w + k * n_out + i), first(n_out - i, lanes)))
                rows[k] = sum_of(row)
            rows = shift(rows, layer.n_in + (layer.b >= 0))

    return sum_squares


@functools.cache
def clip(size):
    """Scales a worker's rows of the gradient, after `sum_squares` of all workers, which add them in the same order."""
    lanes = lanes_of(size)

    @kernel(VOID(INT, JOB), size)
    def clip(rank, job):
        wide_vectors()
        net, gradient = job.net, floats_at(job.gradient, size)
        norm = math.sqrt(total(job.row_squares, net.rows, lanes))
        if norm <= job.clip_norm:
            return
        for l in range(net.layers):
            begin, end = range_of_share(layer_of(net, l), rank, job.workers)
            for i in range(begin, end, lanes):
                mask, g = first(end - i, lanes), shift(gradient, i)
                store(g, scaled(load(g, mask), job.clip_norm / norm), mask)

    return clip
