"""Passes through all layers: values, directional derivatives and deltas, on the arrays of a `Frame`.

With z' and a' for derivatives along a direction (x', θ') = (x', w', b'):

    z'_j = Σ_k w_jk a'_k + Σ_k w'_jk a_k + b'_j        a'_j = σ'(z_j) z'_j           tangents
    dz_j = σ'(z_j) da_j                                da_k = Σ_j w_jk dz_j          deltas

a' of layer 0 is x'. (R. Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6, 1994.)
"""

import functools

from fastbp.core.ir.kernel import call, inline, lanes_of
from fastbp.core.ir.memory import address_of, copy, floats_at, shift
from fastbp.core.layers import calls
from fastbp.core.layers.calls import dense, few_rows
from fastbp.core.layers.forward_backward import place, sums_of_share
from fastbp.core.layers.scaling import FACTOR, OUTPUT_SCALE
from fastbp.core.slots import layer_of


@functools.cache
def valuing(size):
    """(frame, x, rows): overwrites z and a of `work` for the inputs x (rows, n_in), for `inline`; sets frame.x."""

    @inline
    def compute_values(frame, x, rows):
        net, theta, zeros = frame.net, floats_at(frame.theta, size), floats_at(frame.zeros, size)
        work, n_in, x_row = floats_at(frame.work, size), net.inputs, net.inputs
        if frame.raw != 0:
            raw, x, x_row = x, floats_at(frame.inputs, size), net.input_stride
            call(net.standardize, net, x, x_row, raw, n_in, rows, 0, n_in)
        frame.x, frame.x_row = address_of(x), x_row
        call(net.forward, net, theta, 0, zeros, x, x_row, 0, work, frame.capacity, 0, rows, 1)

    return compute_values


@functools.cache
def transposing(size):
    """(frame, out, theta): overwrites out by the transposed weights of all layers, unless frame.few; for `inline`."""

    @inline
    def transpose_weights(frame, out, theta):
        net = frame.net
        if frame.few != 0:
            return
        for l in range(net.layers):
            layer = layer_of(net, l)
            stride = net.input_stride if l == 0 else layer_of(net, l - 1).stride
            wt, w = shift(out, layer.wt), shift(theta, layer.w)
            call(net.transpose, wt, stride, w, layer.n_out, layer.n_in, layer.n_out)

    return transpose_weights


@functools.cache
def pulling(size):
    """(frame, l, out, out_row, init, i_row, dz, theta, wt, rows), for `inline`: through the weights of layer l.

    Overwrites out (rows, n_in): out_k = init_k + Σ_j w_jk dz_j, of the weights in theta and transposed in wt.
    """

    @inline
    def pull(frame, l, out, out_row, init, i_row, dz, theta, wt, rows):
        net = frame.net
        layer = layer_of(net, l)
        n_in, n_out = layer.n_in, layer.n_out
        if frame.few != 0:
            w = shift(theta, layer.w)
            few_rows(net, (out, out_row), (init, i_row), (dz, layer.stride), (w, n_out), (rows, n_in, n_out))
        else:
            w, w_row = shift(wt, layer.wt), net.input_stride if l == 0 else layer_of(net, l - 1).stride
            sums = (init, i_row), (dz, layer.stride, 1), (w, w_row), (rows, n_in, n_out)
            dense(net, net.panels, (out, out_row, 0), *sums)

    return pull


@functools.cache
def losing(size):
    """(frame, y, w, w_row, rows, scale), for `inline`: dz of the last layer in `work` if the loss is fused, else da."""

    @inline
    def compute_loss(frame, y, w, w_row, rows, scale):
        net, work, capacity = frame.net, floats_at(frame.work, size), frame.capacity
        layer = layer_of(net, net.layers - 1)
        out = place(work, capacity, 0, layer, layer.dz if net.fused else layer.da)
        x = place(work, capacity, 0, layer, layer.z if net.fused else layer.a)
        costs, spare = floats_at(frame.losses, size), floats_at(frame.spare, size)
        shape = rows, layer.n_out, layer.stride
        calls.loss(net, out, (costs, spare), x, (y, w, w_row), shape, scale)

    return compute_loss


@functools.cache
def deltas_of(size):
    """(frame, d, capacity, directions, rows, begun), for `inline`: dz and da of all layers down to
    frame.lowest, after `compute_values`.

    Overwrites dz and da in the array d, for each direction from da of the last layer, or with begun = 1 from its dz.
    """
    pull = pulling(size)

    @inline
    def compute_deltas(frame, d, capacity, directions, rows, begun):
        net, work, zeros = frame.net, floats_at(frame.work, size), floats_at(frame.zeros, size)
        theta, wt = floats_at(frame.theta, size), floats_at(frame.wt, size)
        for l in range(net.layers - 1, frame.lowest - 1, -1):
            layer = layer_of(net, l)
            z, a = place(work, frame.capacity, 0, layer, layer.z), place(work, frame.capacity, 0, layer, layer.a)
            if begun == 0 or l + 1 < net.layers:
                for direction in range(directions):
                    dz = place(d, capacity, direction * rows, layer, layer.dz)
                    da = place(d, capacity, direction * rows, layer, layer.da)
                    call(layer.backward, dz, z, a, da, rows, layer.n_out, layer.stride)
            if l > frame.lowest:
                below, dz = layer_of(net, l - 1), place(d, capacity, 0, layer, layer.dz)
                da = place(d, capacity, 0, below, below.da)
                pull(frame, l, da, below.stride, zeros, 0, dz, theta, wt, directions * rows)

    return compute_deltas


@functools.cache
def tangents_of(size):
    """(frame, dx, dtheta, directions, rows), for `inline`: z' and a' of order_1, after `compute_values`.

    x' and θ' are at the addresses dx and dtheta, 0 for none; x' (directions, rows, n_in). θ' counts as 0 in frozen
    layers. Sets frame.x_t.
    """

    @inline
    def compute_tangents(frame, dx, dtheta, directions, rows):
        net, theta, zeros = frame.net, floats_at(frame.theta, size), floats_at(frame.zeros, size)
        work, order_1 = floats_at(frame.work, size), floats_at(frame.order_1, size)
        capacity, count, direction_of_theta = frame.capacity, frame.directions_capacity, floats_at(dtheta, size)
        before, before_row, t, t_row = floats_at(frame.x, size), frame.x_row, floats_at(dx, size), net.inputs
        if frame.raw != 0 and dx != 0:
            t, t_row = floats_at(frame.input_directions, size), net.input_stride
            call(net.multiply, net, t, t_row, floats_at(dx, size), net.inputs, directions * rows, FACTOR)
        frame.x_t, frame.x_t_row = address_of(t), t_row
        for l in range(net.layers):
            layer = layer_of(net, l)
            n_in, n_out, stride = layer.n_in, layer.n_out, layer.stride
            t_z, t_a = place(order_1, count, 0, layer, layer.z), place(order_1, count, 0, layer, layer.a)
            init, i_row, moved = zeros, 0, l > 0 or dx != 0
            shape = rows, n_out, n_in
            turns = dtheta != 0 and layer.frozen == 0  # in its parameters
            if turns:
                w, b = shift(direction_of_theta, layer.w), zeros
                if layer.b >= 0:
                    b = shift(direction_of_theta, layer.b)
                for direction in range(directions):
                    out = shift(t_z, direction * rows * stride)
                    dense(net, net.panels, (out, stride, 0), (b, 0), (before, before_row, 1), (w, n_out), shape)
                init, i_row = t_z, stride
            if moved:
                w, shape = shift(theta, layer.w), (directions * rows, n_out, n_in)
                dense(net, net.panels, (t_z, stride, 0), (init, i_row), (t, t_row, 1), (w, n_out), shape)
            if not turns and not moved:
                for i in range(directions * rows * stride):
                    t_z[i] = 0.0
            z, a = place(work, capacity, 0, layer, layer.z), place(work, capacity, 0, layer, layer.a)
            for direction in range(directions):
                at = direction * rows * stride
                call(layer.backward, shift(t_a, at), z, a, shift(t_z, at), rows, n_out, stride)
            before, before_row, t, t_row = a, stride, t_a, stride

    return compute_tangents


@functools.cache
def summing(size):
    """(frame, gradient, add, rows): dw and db from dz of `work`, for `inline`; overwrites or adds to gradient."""

    @inline
    def sum_gradient(frame, gradient, add, rows):
        net, zeros, scratch = frame.net, floats_at(frame.zeros, size), floats_at(frame.scratch, size)
        work, x = floats_at(frame.work, size), floats_at(frame.x, size)
        sums_of_share(net, gradient, add, zeros, scratch, x, frame.x_row, work, frame.capacity, rows, 0, 1)

    return sum_gradient


@functools.cache
def adding_order(size):
    """(frame, gradient, array, first, rows), for `inline`: gradient_jk += Σ_n dz_nj a_nk of order_1 or order_2,
    but of frozen layers.

    From layer `first` on; the inputs of layer 0 are the directions of the last tangents.
    """

    @inline
    def add_order(frame, gradient, array, first, rows):
        net, zeros, scratch = frame.net, floats_at(frame.zeros, size), floats_at(frame.scratch, size)
        count, x, x_row = frame.directions_capacity, floats_at(frame.x_t, size), frame.x_t_row
        for l in range(net.layers):
            layer = layer_of(net, l)
            if l >= first and layer.frozen == 0:
                dw, n_in = shift(gradient, layer.w), layer.n_in
                calls.sums(net, layer, (dw, 1), (zeros, scratch), (x, x_row), (array, count, rows), (0, n_in))
            x, x_row = place(array, count, 0, layer, layer.a), layer.stride

    return add_order


@functools.cache
def outputs_to(size):
    """Two functions for `inline`, each (frame, out, array, capacity, rows), which overwrite out (rows, n_out).

    The first by a of the last layer in the array, outputs, the second by a', derivatives of outputs; in raw units.
    """
    lanes = lanes_of(size)

    @inline
    def copy_rows(frame, out, array, capacity, rows):
        layer = layer_of(frame.net, frame.net.layers - 1)
        a = place(array, capacity, 0, layer, layer.a)
        for n in range(rows):
            copy(shift(out, n * layer.n_out), shift(a, n * layer.stride), layer.n_out, lanes)

    @inline
    def copy_outputs(frame, out, array, capacity, rows):
        net = frame.net
        layer = layer_of(net, net.layers - 1)
        if frame.raw != 0 and net.restore != 0:
            call(net.restore, net, out, layer.n_out, place(array, capacity, 0, layer, layer.a), layer.stride, rows)
        else:
            copy_rows(frame, out, array, capacity, rows)

    @inline
    def copy_slopes(frame, out, array, capacity, rows):
        net = frame.net
        layer = layer_of(net, net.layers - 1)
        if frame.raw != 0 and net.restore != 0:
            a = place(array, capacity, 0, layer, layer.a)
            call(net.multiply, net, out, layer.n_out, a, layer.stride, rows, OUTPUT_SCALE)
        else:
            copy_rows(frame, out, array, capacity, rows)

    return copy_outputs, copy_slopes


@functools.cache
def seeding(size):
    """(frame, array, capacity, cotangent, rows): da of the last layer from the cotangent (rows, n_out), for `inline`.

    The cotangent is of outputs in raw units.
    """
    lanes = lanes_of(size)

    @inline
    def seed(frame, array, capacity, cotangent, rows):
        net = frame.net
        layer = layer_of(net, net.layers - 1)
        da, n_out, stride = place(array, capacity, 0, layer, layer.da), layer.n_out, layer.stride
        if frame.raw != 0 and net.restore != 0:
            call(net.multiply, net, da, stride, cotangent, n_out, rows, OUTPUT_SCALE)
        else:
            for n in range(rows):
                copy(shift(da, n * stride), shift(cotangent, n * n_out), n_out, lanes)

    return seed


@functools.cache
def pulling_inputs(size):
    """(frame, out, dz, rows), for `inline`: overwrites out (rows, n_in) by the deltas of the inputs, in raw units."""
    pull = pulling(size)

    @inline
    def pull_inputs(frame, out, dz, rows):
        net, zeros, n_in = frame.net, floats_at(frame.zeros, size), frame.net.inputs
        pull(frame, 0, out, n_in, zeros, 0, dz, floats_at(frame.theta, size), floats_at(frame.wt, size), rows)
        if frame.raw != 0:
            call(net.multiply, net, out, n_in, out, n_in, rows, FACTOR)

    return pull_inputs
