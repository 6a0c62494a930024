"""Forward and backward over all layers for some examples, and the sums over examples for some of the weights.

The activations of up to `capacity` examples lie layer by layer in the workspace: z of example `row` in layer l is at
capacity * layer.z + row * layer.stride, and so on. Inputs are rows x_row apart.
"""

import functools

from fastbp.core.ir.kernel import DOUBLE, INT, POINTERS, VOID, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import fill, first, floats_at, load, shift, store
from fastbp.core.ir.traced import minimum, plus, select, traced
from fastbp.core.layers import calls
from fastbp.core.layers.calls import dense, few_rows, packed_dense
from fastbp.core.slots import LAYER, NET, layer_of


@traced
def place(work, capacity, row, layer, offset):
    """Where example `row` has its z, a, dz or da of a layer: `offset` is the layer's field of that name."""
    return work + (capacity * offset + row * layer.stride)


@functools.cache
def forward(size):
    """z_j = Σ_k w_jk a_k + b_j, a_j = σ(z_j) for `rows` examples from `row` on, in all layers. Overwrites z and a.

    Where units are dropped, by factors that are there already, the next layer reads a_j f_j: see layers/dropout.py.
    With summed = 1 the first layer's z is there already; with activate_last = 0 the last layer stops at z. packed: the
    address of packed weights, or 0.
    """
    P = POINTERS[size]

    @kernel(VOID(NET, P, INT, P, P, INT, INT, P, INT, INT, INT, INT), size)
    def forward(net, theta, packed, zeros, x, x_row, summed, work, capacity, row, rows, activate_last):
        for l in range(net.layers):
            layer = layer_of(net, l)
            n_in, n_out, stride = layer.n_in, layer.n_out, layer.stride
            w, b = shift(theta, layer.w), zeros
            if layer.b >= 0:
                b = shift(theta, layer.b)
            z, a = place(work, capacity, row, layer, layer.z), place(work, capacity, row, layer, layer.a)
            activated = 0
            if l > 0 or summed == 0:
                panels, activated = layer.panels, layer.fused_activation
                if packed != 0 and layer.packed >= 0:
                    w = shift(floats_at(packed, size), layer.packed)
                    packed_dense(net, panels, (z, stride), b, (x, x_row), (w, n_in, 0), (rows, n_out, n_in))
                else:
                    dense(net, panels, (z, stride, 0), (b, 0), (x, x_row, 1), (w, n_out), (rows, n_out, n_in))
            if layer.forward and not activated and (l + 1 < net.layers or activate_last):
                calls.activate(layer, a, z, (rows, n_out, stride))
            x, x_row = a, stride
            if layer.dropout != 0:
                x = place(work, capacity, row, layer, layer.dropped)
                calls.drop(net, x, a, place(work, capacity, row, layer, layer.factors), (rows, stride))

    return forward


@inline
def clear_absent(net, costs, weights, work, capacity, row, rows):
    """The examples of weight 0 are absent: their costs, a, dz and da become 0, as 0 · infinity would be NaN."""
    for n in range(rows):
        if weights[n] == 0.0:
            costs[n] = 0.0
            for l in range(net.layers):
                layer = layer_of(net, l)
                for offset in (layer.a, layer.dropped, layer.dz, layer.da):
                    values = place(work, capacity, row + n, layer, offset)
                    for j in range(layer.stride):
                        values[j] = 0.0


@functools.cache
def backward(size):
    """Cost and deltas of `rows` examples from `row` on, after `forward`: dz_j = σ'(z_j) da_j, da_k = Σ_j w_jk dz_j.

    Overwrites costs and, down to the lowest layer that is not frozen, dz (and da); clears examples of weight 0. y and
    weights belong to the first example. With transposed = 0 there are no transposed weights wt.
    """
    P = POINTERS[size]

    @kernel(VOID(NET, P, P, INT, P, P, P, P, P, INT, DOUBLE, P, INT, INT, INT), size)
    def backward(net, theta, wt, transposed, zeros, costs, spare, y, weights, w_row, scale, work, capacity, row, rows):
        l, derivative_fused = net.layers - 1, 0
        layer = layer_of(net, l)
        n_out, stride = layer.n_out, layer.stride
        d, x = place(work, capacity, row, layer, layer.da), place(work, capacity, row, layer, layer.a)
        if net.fused:
            d, x = place(work, capacity, row, layer, layer.dz), place(work, capacity, row, layer, layer.z)
        calls.loss(net, d, (costs, spare), x, (y, weights, w_row), (rows, n_out, stride), scale)
        while True:
            z, a = place(work, capacity, row, layer, layer.z), place(work, capacity, row, layer, layer.a)
            dz, da = place(work, capacity, row, layer, layer.dz), place(work, capacity, row, layer, layer.da)
            if layer.backward != 0 and not derivative_fused:  # else identity, with dz in the place of da, or fused
                calls.derivative(layer, dz, z, a, da, (rows, layer.n_out, stride))
            if l == net.lowest:
                break
            l -= 1
            below = layer_of(net, l)
            da, da_row = place(work, capacity, row, below, below.da), below.stride
            n_in, n_out, derivative_fused = layer.n_in, layer.n_out, 0
            if transposed:
                w, offset = shift(wt, layer.wt), capacity * (below.a - below.da)
                derivative_fused, panels = layer.fused_derivative, layer.deltas
                out = da, da_row, offset
                dense(net, panels, out, (zeros, 0), (dz, stride, 1), (w, da_row), (rows, n_in, n_out))
            else:
                w = shift(theta, layer.w)
                few_rows(net, (da, da_row), (zeros, 0), (dz, stride), (w, n_out), (rows, n_in, n_out))
            if below.dropout != 0:
                calls.drop(net, da, da, place(work, capacity, row, below, below.factors), (rows, da_row))
            layer, stride = below, da_row
        if w_row != 0:
            clear_absent(net, costs, weights, work, capacity, row, rows)

    return backward


def rows_of_share(layer, rank, workers):
    """First and end row of a layer's (weights, biases) that a worker owns; the biases are row n_in."""
    rows, unit = layer.n_in + (layer.b >= 0), layer.unit
    low, high = (minimum(nearest(rows * worker // workers, unit), rows) for worker in (rank, rank + 1))
    return low, select(rank + 1 == workers, rows, high)


def nearest(count, unit):
    """The multiple of unit that is nearest."""
    return (count + unit // 2) // unit * unit


def elements_of_share(layer, rank, workers):
    """First and end element in theta of a worker's rows of a layer."""
    low, high = rows_of_share(layer, rank, workers)
    w, n_out = layer.w, layer.n_out
    return w + low * n_out, w + high * n_out


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


TRANSPOSED = 32
"""Examples from which on it pays to transpose dw, so that the sums' lanes run over the inputs."""


@functools.cache
def sums(size):
    """dw_jk = Σ_n a_nk dz_nj, db_j = Σ_n dz_nj over the examples 0 … count - 1, for the rows low … high - 1 of a layer.

    Overwrites dw, which begins with row `low`, or with add = 1 adds to it; overwrites scratch. x: the layer's inputs.
    Where the lanes over j would be mostly empty they run over k instead (layer.lanes_over_k).
    """
    lanes, P = lanes_of(size), POINTERS[size]

    @kernel(VOID(NET, LAYER, P, INT, P, P, P, INT, P, INT, INT, INT, INT), size)
    def sums(net, layer, dw, add, zeros, scratch, x, x_row, work, capacity, count, low, high):
        wide_vectors()
        n_in, n_out, stride = layer.n_in, layer.n_out, layer.stride
        dz = place(work, capacity, 0, layer, layer.dz)
        rows, biases = minimum(high, n_in) - low, high > n_in
        a = shift(x, minimum(low, n_in - 1))
        init, i_row = (dw, n_out) if add else (zeros, 0)
        together = biases and layer.lanes_over_k == 0  # the biases are one row more of the weights' sums
        if layer.lanes_over_k == 0 or count < TRANSPOSED:
            panels = layer.sums if together else net.panels
            dense(net, panels, (dw, n_out, 0), (init, i_row), (a, 1, x_row), (dz, stride), (rows, n_out, count))
        elif rows > 0:
            panels = layer.sums
            if add:
                calls.transpose(net, (scratch, rows), (dw, n_out), (rows, n_out))
                init, i_row = scratch, rows
            out = scratch, rows, 0
            dense(net, panels, out, (init, i_row), (dz, 1, stride), (a, x_row), (n_out, rows, count))
            calls.transpose(net, (dw, n_out), (scratch, rows), (n_out, rows))
        if biases and not together:
            db = shift(dw, rows * n_out)
            add_rows(db, db if add else zeros, dz, stride, count, n_out, lanes)

    return sums


@inline
def sums_of_share(net, gradient, add, zeros, scratch, x, x_row, work, capacity, count, rank, workers):
    """`sums` of all layers that are not frozen, for a worker's share of the rows, at their places in `gradient`."""
    for l in range(net.layers):
        layer = layer_of(net, l)
        low, high = share(layer, rank, workers)
        dw = shift(gradient, layer.w + low * layer.n_out)
        if low < high and layer.frozen == 0:
            calls.sums(net, layer, (dw, add), (zeros, scratch), (x, x_row), (work, capacity, count), (low, high))
        x, x_row = place(work, capacity, 0, layer, layer.dropped), layer.stride
