"""Forward and backward over all layers for some examples, and the sums over examples for some of the weights.

The activations of up to `capacity` examples lie layer by layer in the workspace: z of example `row` in layer l is at
capacity * LAYER_Z + row * LAYER_STRIDE, and so on. Inputs are rows x_row apart.
"""

import functools

from fastbp.core.ir.kernel import DOUBLE, INT, INTEGERS, POINTERS, VOID, call, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import fill, first, floats_at, load, shift, store
from fastbp.core.ir.traced import chosen, minimum, plus, smaller, traced
from fastbp.core.slots import (
    HEADER,
    LAYER_A,
    LAYER_ACTIVATED,
    LAYER_B,
    LAYER_BACKWARD,
    LAYER_DA,
    LAYER_DELTAS,
    LAYER_DROPOUT,
    LAYER_DROPPED,
    LAYER_DZ,
    LAYER_FACTORS,
    LAYER_FORWARD,
    LAYER_IN,
    LAYER_OUT,
    LAYER_PACKED,
    LAYER_PANELS,
    LAYER_SLOPED,
    LAYER_SLOTS,
    LAYER_STRIDE,
    LAYER_SUMS,
    LAYER_TURNED,
    LAYER_UNIT,
    LAYER_W,
    LAYER_WT,
    LAYER_Z,
    NET_DENSE,
    NET_DOTS,
    NET_DROP,
    NET_FUSED,
    NET_LAYERS,
    NET_LOSS,
    NET_PACKED_DENSE,
    NET_PANELS,
    NET_SUMS,
    NET_TRANSPOSE,
)


@traced
def layer_of(net, l):
    """The slots of layer l, counted from 0."""
    return net + (HEADER + l * LAYER_SLOTS)


@traced
def place(work, capacity, row, layer, slot):
    """Where example `row` has its z, a, dz or da (the slot) of a layer."""
    return work + (capacity * layer[slot] + row * layer[LAYER_STRIDE])


@functools.cache
def forward(size):
    """z_j = Σ_k w_jk a_k + b_j, a_j = σ(z_j) for `rows` examples from `row` on, in all layers. Overwrites z and a.

    Where units are dropped, by factors that are there already, the next layer reads a_j f_j: see layers/dropout.py.
    With summed = 1 the first layer's z is there already; with activate_last = 0 the last layer stops at z. packed: the
    address of packed weights, or 0.
    """
    P = POINTERS[size]

    @kernel(VOID(INTEGERS, P, INT, P, P, INT, INT, P, INT, INT, INT, INT), size)
    def forward(net, theta, packed, zeros, x, x_row, summed, work, capacity, row, rows, activate_last):
        for l in range(net[NET_LAYERS]):
            layer = layer_of(net, l)
            n_in, n_out, stride = layer[LAYER_IN], layer[LAYER_OUT], layer[LAYER_STRIDE]
            w, b = shift(theta, layer[LAYER_W]), zeros
            if layer[LAYER_B] >= 0:
                b = shift(theta, layer[LAYER_B])
            z, a = place(work, capacity, row, layer, LAYER_Z), place(work, capacity, row, layer, LAYER_A)
            activated = 0
            if l > 0 or summed == 0:
                panels, activated = shift(layer, LAYER_PANELS), layer[LAYER_ACTIVATED]
                if packed != 0 and layer[LAYER_PACKED] >= 0:
                    w = shift(floats_at(packed, size), layer[LAYER_PACKED])
                    call(net[NET_PACKED_DENSE], panels, z, stride, b, x, x_row, w, n_in, 0, rows, n_out, n_in)
                else:
                    call(net[NET_DENSE], panels, z, stride, 0, b, 0, x, x_row, 1, w, n_out, rows, n_out, n_in)
            if layer[LAYER_FORWARD] and not activated and (l + 1 < net[NET_LAYERS] or activate_last):
                call(layer[LAYER_FORWARD], a, z, rows, n_out, stride)
            x, x_row = a, stride
            if layer[LAYER_DROPOUT] != 0:
                x = place(work, capacity, row, layer, LAYER_DROPPED)
                call(net[NET_DROP], x, a, place(work, capacity, row, layer, LAYER_FACTORS), rows, stride)

    return forward


@inline
def clear_absent(net, costs, weights, work, capacity, row, rows):
    """The examples of weight 0 are absent: their costs, a, dz and da become 0, as 0 · infinity would be NaN."""
    for n in range(rows):
        if weights[n] == 0.0:
            costs[n] = 0.0
            for l in range(net[NET_LAYERS]):
                layer = layer_of(net, l)
                a, dropped = (
                    place(work, capacity, row + n, layer, LAYER_A),
                    place(work, capacity, row + n, layer, LAYER_DROPPED),
                )
                dz, da = (
                    place(work, capacity, row + n, layer, LAYER_DZ),
                    place(work, capacity, row + n, layer, LAYER_DA),
                )
                for j in range(layer[LAYER_STRIDE]):
                    a[j] = dropped[j] = dz[j] = da[j] = 0.0


@functools.cache
def backward(size):
    """Cost and deltas of `rows` examples from `row` on, after `forward`: dz_j = σ'(z_j) da_j, da_k = Σ_j w_jk dz_j.

    Overwrites costs and dz (and da), and clears examples of weight 0; y and weights belong to the first example. With
    transposed = 0 there are no transposed weights wt.
    """
    P = POINTERS[size]

    @kernel(VOID(INTEGERS, P, P, INT, P, P, P, P, P, INT, DOUBLE, P, INT, INT, INT), size)
    def backward(net, theta, wt, transposed, zeros, costs, spare, y, weights, w_row, scale, work, capacity, row, rows):
        l, sloped = net[NET_LAYERS] - 1, 0
        layer = layer_of(net, l)
        n_out, stride = layer[LAYER_OUT], layer[LAYER_STRIDE]
        d, x = place(work, capacity, row, layer, LAYER_DA), place(work, capacity, row, layer, LAYER_A)
        if net[NET_FUSED]:
            d, x = place(work, capacity, row, layer, LAYER_DZ), place(work, capacity, row, layer, LAYER_Z)
        call(net[NET_LOSS], d, costs, spare, x, y, weights, w_row, rows, n_out, stride, scale)
        while True:
            z, a = place(work, capacity, row, layer, LAYER_Z), place(work, capacity, row, layer, LAYER_A)
            dz, da = place(work, capacity, row, layer, LAYER_DZ), place(work, capacity, row, layer, LAYER_DA)
            if layer[LAYER_BACKWARD] != 0 and not sloped:  # else identity, with dz in the place of da, or fused
                call(layer[LAYER_BACKWARD], dz, z, a, da, rows, layer[LAYER_OUT], stride)
            if l == 0:
                break
            l -= 1
            below = layer_of(net, l)
            da, da_row = place(work, capacity, row, below, LAYER_DA), below[LAYER_STRIDE]
            n_in, n_out, sloped = layer[LAYER_IN], layer[LAYER_OUT], 0
            if transposed:
                w, beside = shift(wt, layer[LAYER_WT]), capacity * (below[LAYER_A] - below[LAYER_DA])
                sloped, panels = layer[LAYER_SLOPED], shift(layer, LAYER_DELTAS)
                call(net[NET_DENSE], panels, da, da_row, beside, zeros, 0, dz, stride, 1, w, da_row, rows, n_in, n_out)
            else:
                w = shift(theta, layer[LAYER_W])
                call(net[NET_DOTS], da, da_row, zeros, 0, dz, stride, w, n_out, rows, n_in, n_out)
            if below[LAYER_DROPOUT] != 0:
                call(net[NET_DROP], da, da, place(work, capacity, row, below, LAYER_FACTORS), rows, da_row)
            layer, stride = below, da_row
        if w_row != 0:
            clear_absent(net, costs, weights, work, capacity, row, rows)

    return backward


def rows_of_share(layer, rank, workers):
    """First and end row of a layer's (weights, biases) that a worker owns; the biases are row LAYER_IN."""
    rows, unit = layer[LAYER_IN] + (layer[LAYER_B] >= 0), layer[LAYER_UNIT]
    low, high = (smaller(nearest(rows * worker // workers, unit), rows) for worker in (rank, rank + 1))
    return low, chosen(rank + 1 == workers, rows, high)


def nearest(count, unit):
    """The multiple of unit that is nearest."""
    return (count + unit // 2) // unit * unit


def elements_of_share(layer, rank, workers):
    """First and end element in theta of a worker's rows of a layer."""
    low, high = rows_of_share(layer, rank, workers)
    return layer[LAYER_W] + low * layer[LAYER_OUT], layer[LAYER_W] + high * layer[LAYER_OUT]


share, range_of_share = traced(rows_of_share), traced(elements_of_share)


@inline
def add_rows(out, init, x, x_row, rows, width, lanes):
    """Overwrites out (width): out_j = init_j + Σ_n x_nj, four sums side by side: one would wait for each addition."""
    for j in range(0, width, lanes):
        mask = first(width - j, lanes)
        x_j, s_0, s_1 = shift(x, j), load(shift(init, j), mask), fill(x, 0.0, lanes)
        s_2, s_3 = s_1, s_1
        for _ in range(rows // 4):
            s_0, s_1 = plus(s_0, load(x_j, mask)), plus(s_1, load(shift(x_j, x_row), mask))
            s_2, s_3 = plus(s_2, load(shift(x_j, 2 * x_row), mask)), plus(s_3, load(shift(x_j, 3 * x_row), mask))
            x_j = shift(x_j, 4 * x_row)
        for _ in range(rows % 4):
            s_0, x_j = plus(s_0, load(x_j, mask)), shift(x_j, x_row)
        store(shift(out, j), plus(plus(s_0, s_1), plus(s_2, s_3)), mask)


TURNED = 32
"""Examples from which on it pays to turn weights, so that the sums' lanes go over the inputs."""


@functools.cache
def sums(size):
    """dw_jk = Σ_n a_nk dz_nj, db_j = Σ_n dz_nj over the examples 0 … count - 1, for the rows low … high - 1 of a layer.

    Overwrites dw, which begins with row `low`, or with add = 1 adds to it; overwrites scratch. x: the layer's inputs.
    Where the lanes over j would be mostly empty they run over k instead (LAYER_TURNED).
    """
    lanes, P = lanes_of(size), POINTERS[size]

    @kernel(VOID(INTEGERS, INTEGERS, P, INT, P, P, P, INT, P, INT, INT, INT, INT), size)
    def sums(net, layer, dw, add, zeros, scratch, x, x_row, work, capacity, count, low, high):
        wide_vectors()
        n_in, n_out, stride = layer[LAYER_IN], layer[LAYER_OUT], layer[LAYER_STRIDE]
        dz = place(work, capacity, 0, layer, LAYER_DZ)
        rows, biases = minimum(high, n_in) - low, high > n_in
        a = shift(x, minimum(low, n_in - 1))
        init, i_row = (dw, n_out) if add else (zeros, 0)
        together = biases and layer[LAYER_TURNED] == 0  # the biases are one row more of the weights' sums
        if layer[LAYER_TURNED] == 0 or count < TURNED:
            panels = shift(layer, LAYER_SUMS) if together else shift(net, NET_PANELS)
            call(net[NET_DENSE], panels, dw, n_out, 0, init, i_row, a, 1, x_row, dz, stride, rows, n_out, count)
        elif rows > 0:
            panels = shift(layer, LAYER_SUMS)
            if add:
                call(net[NET_TRANSPOSE], scratch, rows, dw, n_out, rows, n_out)
                init, i_row = scratch, rows
            call(net[NET_DENSE], panels, scratch, rows, 0, init, i_row, dz, 1, stride, a, x_row, n_out, rows, count)
            call(net[NET_TRANSPOSE], dw, n_out, scratch, rows, n_out, rows)
        if biases and not together:
            db = shift(dw, rows * n_out)
            add_rows(db, db if add else zeros, dz, stride, count, n_out, lanes)

    return sums


@inline
def sums_of_share(net, gradient, add, zeros, scratch, x, x_row, work, capacity, count, rank, workers):
    """`sums` of all layers, for a worker's share of the rows, at their places in `gradient`."""
    for l in range(net[NET_LAYERS]):
        layer = layer_of(net, l)
        low, high = share(layer, rank, workers)
        dw = shift(gradient, layer[LAYER_W] + low * layer[LAYER_OUT])
        if low < high:
            call(net[NET_SUMS], net, layer, dw, add, zeros, scratch, x, x_row, work, capacity, count, low, high)
        x, x_row = place(work, capacity, 0, layer, LAYER_DROPPED), layer[LAYER_STRIDE]
