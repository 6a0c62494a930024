"""The Hessian of each output in the inputs, for each example: what every layer's σ'' adds.

    ∂²y_j/∂x_k∂x_m = Σ_l Σ_i da_ij σ''(z_i) z'_ik z'_im        elementwise; of layer l, with z'_ik = ∂z_i/∂x_k

and da_ij = ∂y_j/∂a_i; for softmax the inner sum is Σ_i u_ik z'_im with u = `second` of u = da and u' = 0 along x_k.
"""

import functools

from fastbp.core.derivatives.frame import block_of, frame_size, opening
from fastbp.core.derivatives.jacobian import filling, jacobian_signature, sloping, to_raw_units
from fastbp.core.derivatives.jacobian_by_inputs import tangents_by_inputs
from fastbp.core.derivatives.passes import deltas_of, transposing, valuing
from fastbp.core.ir.kernel import inline, kernel, wide_vectors
from fastbp.core.ir.memory import floats_at, shift
from fastbp.core.ir.traced import minimum
from fastbp.core.layers import calls
from fastbp.core.layers.calls import dense
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import layer_of
from fastbp.core.workspace import for_tables


@for_tables
def hessian_size(net, rows):
    """Elements of the workspace of `input_hessian`."""
    return frame_size(net, rows, net.inputs, 2)


@functools.cache
def transposing_tangents(size):
    """(frame, rows), for `inline`: a of order_2 = z' of order_1, of each layer for each example an (n_out, n_in)."""

    @inline
    def transpose_tangents(frame, rows):
        net, count = frame.net, frame.directions_capacity
        order_1, order_2 = floats_at(frame.order_1, size), floats_at(frame.order_2, size)
        for l in range(net.layers):
            layer = layer_of(net, l)
            z_t, out = place(order_1, count, 0, layer, layer.z), place(order_2, count, 0, layer, layer.a)
            for n in range(rows):
                at, n_in = shift(z_t, n * layer.stride), net.inputs
                calls.transpose(
                    net, (shift(out, n * layer.n_out * n_in), n_in), (at, rows * layer.stride), (n_in, layer.n_out)
                )

    return transpose_tangents


@functools.cache
def adding_layers(size):
    """(frame, out, out_row, rows), for `inline`: overwrites the Hessians (n_in, n_in) of one output, from da of `work`.

    Those of two examples are out_row apart. z of order_2 are zeros; overwrites its dz.
    """

    @inline
    def add_layers(frame, out, out_row, rows):
        net, zeros, work = frame.net, floats_at(frame.zeros, size), floats_at(frame.work, size)
        order_1, order_2 = floats_at(frame.order_1, size), floats_at(frame.order_2, size)
        capacity, count, n_in = frame.capacity, frame.directions_capacity, net.inputs
        for l in range(net.layers):
            layer = layer_of(net, l)
            n_out, stride = layer.n_out, layer.stride
            z, a = place(work, capacity, 0, layer, layer.z), place(work, capacity, 0, layer, layer.a)
            z_t, a_t = place(order_1, count, 0, layer, layer.z), place(order_1, count, 0, layer, layer.a)
            u, da = place(order_2, count, 0, layer, layer.dz), place(work, capacity, 0, layer, layer.da)
            no_da_t, transposed_z_t = place(order_2, count, 0, layer, layer.z), place(order_2, count, 0, layer, layer.a)
            for k in range(n_in):
                at = k * rows * stride
                along = shift(z_t, at), shift(a_t, at)
                calls.second(layer, shift(u, at), (z, a), along, (da, no_da_t), (rows, n_out, stride))
            for n in range(rows):
                H = shift(out, n * out_row)
                init, i_row = (zeros, 0) if l == 0 else (H, n_in)
                u_n, z_tn = shift(u, n * stride), shift(transposed_z_t, n * n_out * n_in)
                shape = n_in, n_in, n_out
                dense(net, net.panels, (H, n_in, 0), (init, i_row), (u_n, rows * stride, 1), (z_tn, n_in), shape)

    return add_layers


@functools.cache
def input_hessian(size, softmax):
    """Overwrites out (rows, n_out, n_in, n_in): the Hessian of each output of each example, its lower half mirrored."""
    open_frame, compute_values, transpose, fill_with = opening(size), valuing(size), transposing(size), filling(size)
    compute_slopes, compute_tangents = sloping(size), tangents_by_inputs(size, softmax)
    compute_deltas, elementwise = deltas_of(size), 1 - int(softmax)
    transpose_tangents, add_layers = transposing_tangents(size), adding_layers(size)

    @inline
    def mirror(H, n):
        for k in range(n):
            for m in range(k):
                H[m * n + k] = H[k * n + m]

    @kernel(jacobian_signature(size), size, softmax)
    def input_hessian(net, theta, out, x, rows, few, workspace):
        wide_vectors()
        n_in, n_out = net.inputs, net.outputs
        frame, block = open_frame(workspace, net, theta, rows, n_in, 2, few), block_of(net, rows, n_in)
        work, order_2 = floats_at(frame.work, size), floats_at(frame.order_2, size)
        last = layer_of(net, net.layers - 1)
        da = place(work, frame.capacity, 0, last, last.da)
        transpose(frame, floats_at(frame.wt, size), theta)
        for l in range(net.layers):
            layer = layer_of(net, l)
            fill_with(place(order_2, frame.directions_capacity, 0, layer, layer.z), 0.0, block * layer.stride)
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            compute_values(frame, shift(x, begin * n_in), count)
            compute_slopes(frame, net.layers - 1 + elementwise, count)
            compute_tangents(frame, count)
            transpose_tangents(frame, count)
            for j in range(n_out):
                fill_with(da, 0.0, count * last.stride)
                for n in range(count):
                    da[n * last.stride + j] = 1.0
                compute_deltas(frame, work, frame.capacity, 1, count, 0)
                add_layers(frame, shift(out, (begin * n_out + j) * n_in * n_in), n_out * n_in * n_in, count)
            for i in range(count * n_out):
                mirror(shift(out, (begin * n_out + i) * n_in * n_in), n_in)
            to_raw_units(frame, shift(out, begin * n_out * n_in * n_in), count, 2)

    return input_hessian
