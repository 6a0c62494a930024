"""Plain gradient descent in steps of a few examples: theta changes as the gradient is made, which is kept nowhere.

    w_jk ← w_jk + Σ_n a_nk (-η dz_nj)        b_j ← b_j + Σ_n (-η dz_nj)

These are the sums of `backprop.sums`, added to theta, of deltas that have been multiplied by -η. To make a gradient,
look at it and subtract it would go over as much memory as theta's three times, which takes longer than the forward and
backward passes of a few examples.
"""

import functools

from fastbp.core.ir.kernel import DOUBLE, INT, POINTERS, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import first, load, shift, store
from fastbp.core.ir.traced import absolute, any_off, traced
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import NET, layer_of

LARGEST = {4: 2.0**50, 8: 2.0**483}
"""Of a and η dz: a sum of four products (FEW in workspace.py) is less than half of what is between the two largest
numbers, and theta cannot overflow."""

times = traced(lambda x, factor: x * factor)


@functools.cache
def online(size):
    """Overwrites dz of the examples 0 … count - 1 by -η dz, and returns 1; or returns 0, with dz as they are, where
    something is so large that theta might overflow, infinite or NaN.
    """
    lanes, P = lanes_of(size), POINTERS[size]
    too_large = traced(lambda x, factor: any_off(absolute(x * factor) < LARGEST[size]))

    @inline
    def row_too_large(x, factor, width):
        bad = 0
        for i in range(0, width, lanes):
            bad |= too_large(load(shift(x, i), first(width - i, lanes)), factor)
        return bad

    @kernel(INT(NET, P, INT, P, INT, INT, DOUBLE), size)
    def online(net, x, x_row, work, capacity, count, rate):
        wide_vectors()
        bad = 0
        for l in range(net.layers):
            layer = layer_of(net, l)
            for n in range(count if l >= net.lowest else 0):
                bad |= row_too_large(shift(x, n * x_row), 1.0, layer.n_in)
                bad |= row_too_large(place(work, capacity, n, layer, layer.dz), rate, layer.n_out)
            x, x_row = place(work, capacity, 0, layer, layer.dropped), layer.stride
        if bad:
            return 0
        for l in range(net.lowest, net.layers):
            layer = layer_of(net, l)
            n_out = layer.n_out
            for n in range(count):
                dz = place(work, capacity, n, layer, layer.dz)
                for j in range(0, n_out, lanes):
                    mask = first(n_out - j, lanes)
                    store(shift(dz, j), times(load(shift(dz, j), mask), -rate), mask)
        return 1

    return online
