"""Plain gradient descent on a few examples updates theta in place: no memory holds the gradient.

    w_jk ← w_jk + Σ_n a_nk (-η dz_nj)        b_j ← b_j + Σ_n (-η dz_nj)

`update_in_place` multiplies the deltas by -η; `sums` of layers/forward_backward.py then adds its sums to theta. To
compute, check and subtract a gradient would pass over memory of theta's size three times, which takes longer than
forward and backward for a few examples.
"""

import functools

from fastbp.core.ir.kernel import DOUBLE, INT, POINTERS, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import first, load, shift, store
from fastbp.core.ir.traced import absolute, any_off, traced
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import NET, layer_of

LARGEST = {4: 2.0**50, 8: 2.0**483}
"""Bound of |a| and |η dz|: a sum of four products (FEW in workspace.py) is then less than half the distance of the two
largest numbers, so theta cannot overflow."""

times = traced(lambda x, factor: x * factor)


@functools.cache
def update_in_place(size):
    """Overwrites dz of the examples 0 … count - 1 by -η dz, and returns 1; or changes nothing and returns 0, if an
    a or η dz is NaN or so large that theta might overflow.
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
    def update_in_place(net, x, x_row, work, capacity, count, rate):
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

    return update_in_place
