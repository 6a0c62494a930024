"""The Jacobian of the outputs in the inputs by tangents along all x_k, for networks with few inputs."""

import functools

from fastbp.core.derivatives.frame import block_of, frame_size, opening
from fastbp.core.derivatives.jacobian import jacobian_signature, sloping, times, to_raw_units
from fastbp.core.derivatives.passes import valuing
from fastbp.core.ir.kernel import call, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import copy, every, floats_at, load, shift, store
from fastbp.core.ir.traced import minimum
from fastbp.core.layers.calls import dense
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import layer_of
from fastbp.core.workspace import for_tables


@for_tables
def by_inputs_size(net, rows):
    """Elements of the workspace of `by_inputs`."""
    return frame_size(net, rows, net.inputs, 1)


@functools.cache
def tangents_by_inputs(size, softmax):
    """(frame, rows): z' and a' of order_1 along every input k, for `inline`, after `compute_slopes`.

    Row k * rows + n is of example n along x_k; those of the first layer are its weights.
    """
    lanes = lanes_of(size)

    @inline
    def scale(out, x, s, count):
        for i in range(0, count, lanes):
            store(shift(out, i), times(load(shift(x, i), every(lanes)), load(shift(s, i), every(lanes))), every(lanes))

    @inline
    def compute_tangents(frame, rows):
        net, theta, zeros = frame.net, floats_at(frame.theta, size), floats_at(frame.zeros, size)
        work, order, count = floats_at(frame.work, size), floats_at(frame.order_1, size), frame.directions_capacity
        before, before_row = order, 0
        for l in range(net.layers):
            layer = layer_of(net, l)
            w, n_out, stride = shift(theta, layer.w), layer.n_out, layer.stride
            t_z, t_a = place(order, count, 0, layer, layer.z), place(order, count, 0, layer, layer.a)
            if l == 0:
                for i in range(net.inputs * rows):
                    copy(shift(t_z, i * stride), shift(w, i // rows * n_out), n_out, lanes)
            else:
                shape = net.inputs * rows, n_out, layer.n_in
                dense(net, net.panels, (t_z, stride, 0), (zeros, 0), (before, before_row, 1), (w, n_out), shape)
            z, a = place(work, frame.capacity, 0, layer, layer.z), place(work, frame.capacity, 0, layer, layer.a)
            for k in range(net.inputs):
                at = k * rows * stride
                if softmax and l == net.layers - 1:
                    call(layer.backward, shift(t_a, at), z, a, shift(t_z, at), rows, n_out, stride)
                else:
                    s = place(work, frame.capacity, 0, layer, layer.dz)
                    scale(shift(t_a, at), shift(t_z, at), s, rows * stride)
            before, before_row = t_a, stride

    return compute_tangents


@functools.cache
def by_inputs(size, softmax):
    """As `jacobian.by_outputs`, by the tangents of all examples along each input."""
    open_frame, compute_values, compute_slopes = opening(size), valuing(size), sloping(size)
    compute_tangents, elementwise = tangents_by_inputs(size, softmax), 1 - int(softmax)

    @kernel(jacobian_signature(size), size, softmax)
    def by_inputs(net, theta, out, x, rows, few, workspace):
        wide_vectors()
        n_in, n_out = net.inputs, net.outputs
        frame, block = open_frame(workspace, net, theta, rows, n_in, 1, few), block_of(net, rows, n_in)
        last = layer_of(net, net.layers - 1)
        t_a = place(floats_at(frame.order_1, size), frame.directions_capacity, 0, last, last.a)
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            compute_values(frame, shift(x, begin * n_in), count)
            compute_slopes(frame, net.layers - 1 + elementwise, count)
            compute_tangents(frame, count)
            for n in range(count):
                out_n = shift(out, (begin + n) * n_out * n_in)
                call(net.transpose, out_n, n_in, shift(t_a, n * last.stride), count * last.stride, n_in, n_out)
            to_raw_units(frame, shift(out, begin * n_out * n_in), count, 1)

    return by_inputs
