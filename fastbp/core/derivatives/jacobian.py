"""The Jacobian of the outputs in the inputs, ∂y_j/∂x_k, for each example.

From the outputs back, with D^l_kj = ∂y_j/∂a_k of the inputs a of layer l:

    D^l_kj = Σ_i w_ik σ'(z_i) D^(l+1)_ij        D of the outputs is the identity matrix

as one sum for each example with its lanes over the outputs (`by_outputs`), which reads the weights as they lie in
theta, or where these leave lanes empty as deltas of all examples (`by_deltas`). From the inputs on, it is in
`jacobian_by_inputs`. All kernels have one signature.
"""

import functools

from fastbp.core.derivatives.frame import block_of, frame_size, opening
from fastbp.core.derivatives.passes import deltas_of, pulling, transposing, valuing
from fastbp.core.ir.kernel import INT, POINTERS, VOID, call, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import every, fill, first, floats_at, load, shift, store
from fastbp.core.ir.traced import minimum, traced
from fastbp.core.layers.calls import dense
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import NET, layer_of
from fastbp.core.workspace import for_tables, padded

TALL = 8
"""Rows of which every register tile is made: fewer would each wait for their own additions."""

times = traced(lambda x, y: x * y)


@for_tables
def by_outputs_size(net, rows):
    """Elements of the workspace of `by_outputs` and `by_deltas`."""
    return frame_size(net, rows, net.outputs, 1)


@functools.cache
def filling(size):
    """(out, number, count): overwrites whole vectors of out by the number, for `inline`."""
    lanes = lanes_of(size)

    @inline
    def fill_with(out, number, count):
        numbers = fill(out, number, lanes)
        for i in range(0, count, lanes):
            store(shift(out, i), numbers, every(lanes))

    return fill_with


@functools.cache
def sloping(size):
    """(frame, layers, rows): dz of `work` = σ'(z) of the lowest `layers` layers, for `inline`; overwrites da."""
    fill_with = filling(size)

    @inline
    def compute_slopes(frame, layers, rows):
        work = floats_at(frame.work, size)
        for l in range(layers):
            layer = layer_of(frame.net, l)
            z, a = place(work, frame.capacity, 0, layer, layer.z), place(work, frame.capacity, 0, layer, layer.a)
            dz, da = place(work, frame.capacity, 0, layer, layer.dz), place(work, frame.capacity, 0, layer, layer.da)
            fill_with(da, 1.0, rows * layer.stride)
            call(layer.backward, dz, z, a, da, rows, layer.n_out, layer.stride)

    return compute_slopes


# --- from the outputs back, example by example ----------------------------------------------------------------------


@functools.cache
def rows_by(size):
    """Two helpers for `inline` on rows of n_out numbers, `wide` apart."""
    lanes = lanes_of(size)

    @inline
    def scale_rows(D, wide, s, rows, n_out):
        """D_ij ← s_i D_ij."""
        for i in range(rows):
            s_i = fill(D, s[i], lanes)
            for j in range(0, n_out, lanes):
                mask, D_ij = first(n_out - j, lanes), shift(D, i * wide + j)
                store(D_ij, times(load(D_ij, mask), s_i), mask)

    @inline
    def scale_columns(D, wide, w, s, rows, n_out):
        """Overwrites D: D_kj = w_kj s_j."""
        for j in range(0, n_out, lanes):
            mask = first(n_out - j, lanes)
            s_j = load(shift(s, j), mask)
            for k in range(rows):
                store(shift(D, k * wide + j), times(load(shift(w, k * n_out + j), mask), s_j), mask)

    return scale_rows, scale_columns


@inline
def product(net, zeros, D, wide, w, above, above_row, rows, n_out, terms):
    """Overwrites D (rows, n_out; rows `wide` apart): D_kj = Σ_i w_ki above_ij.

    What is left below whole tiles is computed with rows before it once more.
    """
    whole = rows // TALL * TALL if rows >= TALL else rows
    dense(net, net.panels, (D, wide, 0), (zeros, 0), (w, terms, 1), (above, above_row), (whole, n_out, terms))
    if whole < rows:
        D, w = shift(D, (rows - TALL) * wide), shift(w, (rows - TALL) * terms)
        dense(net, net.panels, (D, wide, 0), (zeros, 0), (w, terms, 1), (above, above_row), (TALL, n_out, terms))


@functools.cache
def softmax_jacobian(size):
    """(frame, row): ∂a_j/∂z_i of the last layer, symmetric, in its dz of order_1; for `inline`; overwrites da there."""
    fill_with = filling(size)

    @inline
    def compute_softmax_jacobian(frame, row):
        net, work, order = frame.net, floats_at(frame.work, size), floats_at(frame.order_1, size)
        layer, count = layer_of(net, net.layers - 1), frame.directions_capacity
        n_out, stride = layer.n_out, layer.stride
        z, a = place(work, frame.capacity, row, layer, layer.z), place(work, frame.capacity, row, layer, layer.a)
        dz, da = place(order, count, 0, layer, layer.dz), place(order, count, 0, layer, layer.da)
        fill_with(da, 0.0, n_out * stride)
        for j in range(n_out):
            da[j * stride + j] = 1.0
            call(layer.backward, shift(dz, j * stride), z, a, shift(da, j * stride), 1, n_out, stride)

    return compute_softmax_jacobian


@functools.cache
def chaining(size, softmax):
    """(frame, out, row): overwrites out (n_out, n_in) by the Jacobian of one example, for `inline`."""
    compute_softmax_jacobian, (scale_rows, scale_columns) = softmax_jacobian(size), rows_by(size)

    @inline
    def chain(frame, out, row):
        net, theta, zeros = frame.net, floats_at(frame.theta, size), floats_at(frame.zeros, size)
        work, order, count = floats_at(frame.work, size), floats_at(frame.order_1, size), frame.directions_capacity
        n_in, n_out, wide, top = net.inputs, net.outputs, padded(net.outputs), net.layers - 1
        layer = layer_of(net, top)
        above, above_row = place(order, count, 0, layer, layer.dz), layer.stride
        if softmax:
            compute_softmax_jacobian(frame, row)
        for l in range(top, -1, -1):
            layer, below = layer_of(net, l), layer_of(net, l - 1 if l > 0 else 0)
            piece = layer.n_in if l > 0 else layer.stride  # rows for which there is room
            D = place(order, count, 0, below, below.da if l > 0 else below.a)
            for k in range(0, layer.n_in, piece):
                rows, w = minimum(piece, layer.n_in - k), shift(theta, layer.w + k * layer.n_out)
                if l < top or softmax:
                    product(net, zeros, D, wide, w, above, above_row, rows, n_out, layer.n_out)
                else:
                    scale_columns(D, wide, w, place(work, frame.capacity, row, layer, layer.dz), rows, n_out)
                if l == 0:
                    call(net.transpose, shift(out, k), n_in, D, wide, rows, n_out)
            if l > 0:
                scale_rows(D, wide, place(work, frame.capacity, row, below, below.dz), layer.n_in, n_out)
            above, above_row = D, wide

    return chain


@inline
def to_raw_units(frame, out, rows, order):
    """The derivatives of this order of `rows` examples become those of outputs in raw units by inputs in raw units."""
    if frame.raw != 0:
        call(frame.net.multiply_derivatives, frame.net, out, rows, order)


def jacobian_signature(size):
    """Of every kernel here: net, theta, out (rows, n_out, n_in), x (rows, n_in), rows, few, workspace."""
    P = POINTERS[size]
    return VOID(NET, P, P, P, INT, INT, P)


@functools.cache
def outputs_back(size, softmax):
    """`by_outputs` for `inline`."""
    open_frame, compute_values, compute_slopes = opening(size), valuing(size), sloping(size)
    chain, elementwise = chaining(size, softmax), 1 - int(softmax)

    @inline
    def compute_jacobians(net, theta, out, x, rows, few, workspace):
        n_in, n_out = net.inputs, net.outputs
        frame, block = open_frame(workspace, net, theta, rows, n_out, 1, few), block_of(net, rows, n_out)
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            compute_values(frame, shift(x, begin * n_in), count)
            compute_slopes(frame, net.layers - 1 + elementwise, count)
            for n in range(count):
                chain(frame, shift(out, (begin + n) * n_out * n_in), n)
            to_raw_units(frame, shift(out, begin * n_out * n_in), count, 1)

    return compute_jacobians


@functools.cache
def by_outputs(size, softmax):
    """Overwrites out (rows, n_out, n_in): the Jacobian of each example, with lanes over the outputs."""
    compute_jacobians = outputs_back(size, softmax)

    @kernel(jacobian_signature(size), size, softmax)
    def by_outputs(net, theta, out, x, rows, few, workspace):
        wide_vectors()
        compute_jacobians(net, theta, out, x, rows, few, workspace)

    return by_outputs


# --- from few outputs back, all examples together -------------------------------------------------------------------


@functools.cache
def deltas_back(size):
    """`by_deltas` for `inline`."""
    open_frame, compute_values, compute_deltas = opening(size), valuing(size), deltas_of(size)
    fill_with, transpose, pull = filling(size), transposing(size), pulling(size)

    @inline
    def compute_jacobians(net, theta, out, x, rows, few, workspace):
        n_in, n_out = net.inputs, net.outputs
        frame, block = open_frame(workspace, net, theta, rows, n_out, 1, few), block_of(net, rows, n_out)
        zeros, wt = floats_at(frame.zeros, size), floats_at(frame.wt, size)
        order, capacity = floats_at(frame.order_1, size), frame.directions_capacity
        lowest, last = layer_of(net, 0), layer_of(net, net.layers - 1)
        transpose(frame, wt, theta)
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            compute_values(frame, shift(x, begin * n_in), count)
            da = place(order, capacity, 0, last, last.da)
            fill_with(da, 0.0, n_out * count * last.stride)
            for j in range(n_out):
                for n in range(count):
                    da[(j * count + n) * last.stride + j] = 1.0
            compute_deltas(frame, order, capacity, n_out, count, 0)
            for j in range(n_out):
                out_j = shift(out, (begin * n_out + j) * n_in)
                dz = place(order, capacity, j * count, lowest, lowest.dz)
                pull(frame, 0, out_j, n_out * n_in, zeros, 0, dz, theta, wt, count)
            to_raw_units(frame, shift(out, begin * n_out * n_in), count, 1)

    return compute_jacobians


@functools.cache
def by_deltas(size):
    """As `by_outputs`, by the deltas of all examples along each output."""
    compute_jacobians = deltas_back(size)

    @kernel(jacobian_signature(size), size)
    def by_deltas(net, theta, out, x, rows, few, workspace):
        wide_vectors()
        compute_jacobians(net, theta, out, x, rows, few, workspace)

    return by_deltas


@functools.cache
def by_outputs_or_deltas(size, softmax):
    """As `by_outputs` for few examples, whose deltas would not fill register tiles, else as `by_deltas`."""
    of_few, of_many = outputs_back(size, softmax), deltas_back(size)

    @kernel(jacobian_signature(size), size, softmax)
    def by_outputs_or_deltas(net, theta, out, x, rows, few, workspace):
        wide_vectors()
        if few != 0:
            of_few(net, theta, out, x, rows, few, workspace)
        else:
            of_many(net, theta, out, x, rows, few, workspace)

    return by_outputs_or_deltas
