"""Taylor coefficients of the outputs along a direction in the inputs, and the gradient of functions of them.

Along x + t v, with primes for derivatives in t at t = 0, layer by layer from a = x, a' = v, a'' = 0:

    z'_j = Σ_k w_jk a'_k      a'_j = σ'(z_j) z'_j
    z''_j = Σ_k w_jk a''_k    a''_j = σ''(z_j) z'_j² + σ'(z_j) z''_j

and back, with d for the gradient of a function of y, y' and y'' (da'' is that in a'', …):

    dz''_j = σ' da''_j
    dz'_j = σ' da'_j + 2 σ'' z'_j da''_j
    dz_j = σ' da_j + σ'' z'_j da'_j + (σ\'\'\' z'_j² + σ'' z''_j) da''_j
    da_k = Σ_j w_jk dz_j, da' and da'' likewise    dw_jk = Σ_n (dz_j a_k + dz'_j a'_k + dz''_j a''_k)    db_j = Σ_n dz_j

(A. Griewank & A. Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 13.)
"""

import functools

from fastbp.core.derivatives.frame import block_of, frame_size, opening
from fastbp.core.derivatives.jacobian import filling
from fastbp.core.derivatives.passes import (
    adding_order,
    outputs_to,
    pulling,
    seeding,
    summing,
    tangents_of,
    transposing,
    valuing,
)
from fastbp.core.derivatives.products import adding_parts
from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.ir.kernel import INT, POINTERS, VOID, Kernel, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import address_of, every, floats_at, load, shift, store
from fastbp.core.ir.traced import minimum, traced
from fastbp.core.layers import calls, custom_activation
from fastbp.core.layers.calls import dense
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import NET, layer_of
from fastbp.core.workspace import for_tables


@for_tables
def taylor_size(net, rows, order):
    """Elements of the workspace of `taylor` and `taylor_vjp`, for any number of directions."""
    return frame_size(net, rows, 1, order)


# --- the kernels of activations -------------------------------------------------------------------------------------


def adjoint_signature(size):
    """Of `adjoint`: dz, dz', dz'', z, a, z', z'', da, da', da'', rows, width, stride."""
    P = POINTERS[size]
    return VOID(P, P, P, P, P, P, P, P, P, P, INT, INT, INT)


@functools.cache
def adjoint(activation, size):
    """The kernel (Layer.taylor) of an elementwise activation. Overwrites dz, dz' and dz'', as the module says."""
    if not isinstance(activation, str):
        return custom_adjoint(activation.derivative, activation.second, activation.third, size)
    lanes, row = lanes_of(size), ACTIVATIONS[activation]

    slope = traced(lambda z, a, d_2: row.derivative(z, a) * d_2)

    @traced
    def first_order(z, a, z_1, d_1, d_2):
        return row.derivative(z, a) * d_1 + 2.0 * row.second(z, a) * (z_1 * d_2)

    @traced
    def zeroth_order(z, a, z_1, z_2, d_0, d_1, d_2):
        curvature = row.second(z, a)
        of_second = row.third(z, a) * (z_1 * z_1) + curvature * z_2
        return row.derivative(z, a) * d_0 + curvature * (z_1 * d_1) + of_second * d_2

    @kernel(adjoint_signature(size), activation, size)
    def adjoint(dz, dz_1, dz_2, z, a, z_1, z_2, da, da_1, da_2, rows, width, stride):
        wide_vectors()
        whole = every(lanes)
        for i in range(0, rows * stride, lanes):
            z_i, a_i = load(shift(z, i), whole), load(shift(a, i), whole)
            z_1i, z_2i = load(shift(z_1, i), whole), load(shift(z_2, i), whole)
            d_0, d_1, d_2 = load(shift(da, i), whole), load(shift(da_1, i), whole), load(shift(da_2, i), whole)
            store(shift(dz_2, i), slope(z_i, a_i, d_2), whole)
            store(shift(dz_1, i), first_order(z_i, a_i, z_1i, d_1, d_2), whole)
            store(shift(dz, i), zeroth_order(z_i, a_i, z_1i, z_2i, d_0, d_1, d_2), whole)

    return adjoint


@functools.cache
def custom_adjoint(derivative, second, third, size):
    """As `adjoint`, of a user's functions, one number at a time."""
    sigma_1, sigma_2, sigma_3 = (custom_activation.scalar(function) for function in (derivative, second, third))

    def kernel(dz, dz_1, dz_2, z, a, z_1, z_2, da, da_1, da_2, rows, width, stride):
        for n in range(rows):
            for i in range(n * stride, n * stride + width):
                s_1, s_2 = sigma_1(z[i]), sigma_2(z[i])
                of_second = sigma_3(z[i]) * (z_1[i] * z_1[i]) + s_2 * z_2[i]
                dz_2[i] = s_1 * da_2[i]
                dz_1[i] = s_1 * da_1[i] + 2.0 * s_2 * (z_1[i] * da_2[i])
                dz[i] = s_1 * da[i] + s_2 * (z_1[i] * da_1[i]) + of_second * da_2[i]

    return Kernel(kernel, adjoint_signature(size), None)


# --- passes ---------------------------------------------------------------------------------------------------------


@functools.cache
def curving(size):
    """(frame, rows), for `inline`: z'' and a'' of order_2, after `compute_tangents` along one direction."""
    fill_with = filling(size)

    @inline
    def compute_curvatures(frame, rows):
        net, theta, zeros = frame.net, floats_at(frame.theta, size), floats_at(frame.zeros, size)
        work, order_1 = floats_at(frame.work, size), floats_at(frame.order_1, size)
        order_2 = floats_at(frame.order_2, size)
        capacity, count = frame.capacity, frame.directions_capacity
        before, before_row = order_2, 0
        for l in range(net.layers):
            layer = layer_of(net, l)
            n_out, stride = layer.n_out, layer.stride
            z, a = place(work, capacity, 0, layer, layer.z), place(work, capacity, 0, layer, layer.a)
            z_1, a_1 = place(order_1, count, 0, layer, layer.z), place(order_1, count, 0, layer, layer.a)
            z_2, a_2 = place(order_2, count, 0, layer, layer.z), place(order_2, count, 0, layer, layer.a)
            if l == 0:
                fill_with(z_2, 0.0, rows * stride)
            else:
                w, shape = shift(theta, layer.w), (rows, n_out, layer.n_in)
                dense(net, net.panels, (z_2, stride, 0), (zeros, 0), (before, before_row, 1), (w, n_out), shape)
            calls.second(layer, a_2, (z, a), (z_1, a_1), (z_1, z_2), (rows, n_out, stride))
            before, before_row = a_2, stride

    return compute_curvatures


@functools.cache
def returning(size, order):
    """(frame, rows), for `inline`: dz and da of `work`, order_1 and, of order 2, order_2, from da of the last layer."""
    pull = pulling(size)

    @inline
    def return_through_layers(frame, rows):
        net, zeros, wt = frame.net, floats_at(frame.zeros, size), floats_at(frame.wt, size)
        theta, work, capacity = floats_at(frame.theta, size), floats_at(frame.work, size), frame.capacity
        order_1, order_2 = floats_at(frame.order_1, size), floats_at(frame.order_2, size)
        count = frame.directions_capacity
        for l in range(net.layers - 1, -1, -1):
            layer, below = layer_of(net, l), layer_of(net, l - 1 if l > 0 else 0)
            n_out, stride = layer.n_out, layer.stride
            z, a = place(work, capacity, 0, layer, layer.z), place(work, capacity, 0, layer, layer.a)
            dz, da = place(work, capacity, 0, layer, layer.dz), place(work, capacity, 0, layer, layer.da)
            z_1, a_1 = place(order_1, count, 0, layer, layer.z), place(order_1, count, 0, layer, layer.a)
            dz_1, da_1 = place(order_1, count, 0, layer, layer.dz), place(order_1, count, 0, layer, layer.da)
            shape = rows, n_out, stride
            if order == 1:
                calls.second(layer, dz, (z, a), (z_1, a_1), (da_1, da), shape)
                calls.derivative(layer, dz_1, z, a, da_1, shape)
            else:
                z_2, dz_2 = place(order_2, count, 0, layer, layer.z), place(order_2, count, 0, layer, layer.dz)
                da_2 = place(order_2, count, 0, layer, layer.da)
                calls.taylor(layer, (dz, dz_1, dz_2), (z, a), (z_1, z_2), (da, da_1, da_2), shape)
                if l > 0:
                    below_2 = place(order_2, count, 0, below, below.da)
                    pull(frame, l, below_2, below.stride, zeros, 0, dz_2, theta, wt, rows)
            if l > 0:
                below_0 = place(work, capacity, 0, below, below.da)
                below_1 = place(order_1, count, 0, below, below.da)
                pull(frame, l, below_0, below.stride, zeros, 0, dz, theta, wt, rows)
                pull(frame, l, below_1, below.stride, zeros, 0, dz_1, theta, wt, rows)

    return return_through_layers


# --- entries --------------------------------------------------------------------------------------------------------


@functools.cache
def taylor(size, order):
    """Overwrites y (rows, n_out), and y' and y'' (directions, between, n_out) of rows examples, for V likewise.

    y' and y'' of direction d begin at d * between * n_out; of order 1 there is no y''.
    """
    P, open_frame, compute_values = POINTERS[size], opening(size), valuing(size)
    compute_tangents, compute_curvatures, (copy_outputs, copy_slopes) = (
        tangents_of(size),
        curving(size),
        outputs_to(size),
    )

    @kernel(VOID(NET, P, P, P, P, P, P, INT, INT, INT, P), size, order)
    def taylor(net, theta, y, y_1, y_2, x, v, rows, directions, between, workspace):
        wide_vectors()
        frame = open_frame(workspace, net, theta, rows, 1, order, 1)
        block, n_in, n_out = block_of(net, rows, 1), net.inputs, net.outputs
        work, order_1 = floats_at(frame.work, size), floats_at(frame.order_1, size)
        order_2 = floats_at(frame.order_2, size)
        for begin in range(0, rows, block):
            rest = minimum(block, rows - begin)
            compute_values(frame, shift(x, begin * n_in), rest)
            copy_outputs(frame, shift(y, begin * n_out), work, frame.capacity, rest)
            for d in range(directions):
                at, count = d * between + begin, frame.directions_capacity
                compute_tangents(frame, address_of(shift(v, at * n_in)), 0, 1, rest)
                copy_slopes(frame, shift(y_1, at * n_out), order_1, count, rest)
                if order == 2:
                    compute_curvatures(frame, rest)
                    copy_slopes(frame, shift(y_2, at * n_out), order_2, count, rest)

    return taylor


@functools.cache
def taylor_vjp(size, order):
    """Overwrites dtheta: the gradient of Σ c y + Σ c' y' + Σ c'' y'', with V, c' and c'' laid out as in `taylor`.

    c, c' and c'' are at addresses, 0 for zeros. Summed over the examples of each shard in their order, block by block,
    and there direction by direction; then over the shards.
    """
    P, open_frame, compute_values, transpose = POINTERS[size], opening(size), valuing(size), transposing(size)
    compute_tangents, compute_curvatures, seed = tangents_of(size), curving(size), seeding(size)
    return_through_layers, sum_gradient = returning(size, order), summing(size)
    add_order, add_part, fill_with = adding_order(size), adding_parts(size), filling(size)

    @inline
    def seed_or_clear(frame, array, capacity, cotangent, at, rows):
        layer = layer_of(frame.net, frame.net.layers - 1)
        da = place(array, capacity, 0, layer, layer.da)
        fill_with(da, 0.0, rows * layer.stride)
        if cotangent != 0:
            seed(frame, array, capacity, floats_at(cotangent + at * layer.n_out * size, size), rows)

    @kernel(VOID(NET, P, P, P, P, INT, INT, INT, INT, INT, INT, INT, INT, P), size, order)
    def taylor_vjp(net, theta, dtheta, x, v, c, c_1, c_2, rows, directions, between, shards, few, workspace):
        wide_vectors()
        frame = open_frame(workspace, net, theta, rows, 1, order, few)
        block, n_in, capacity, count = block_of(net, rows, 1), net.inputs, frame.capacity, frame.directions_capacity
        work, order_1 = floats_at(frame.work, size), floats_at(frame.order_1, size)
        order_2 = floats_at(frame.order_2, size)
        transpose(frame, floats_at(frame.wt, size), theta)
        for shard in range(shards):
            out = dtheta if shard == 0 else floats_at(frame.partial, size)
            first_row, end = rows * shard // shards, rows * (shard + 1) // shards
            for begin in range(first_row, end, block):
                rest = minimum(block, end - begin)
                compute_values(frame, shift(x, begin * n_in), rest)
                for d in range(directions):
                    at = d * between + begin
                    compute_tangents(frame, address_of(shift(v, at * n_in)), 0, 1, rest)
                    seed_or_clear(frame, work, capacity, c if d == 0 else 0, begin, rest)
                    seed_or_clear(frame, order_1, count, c_1, at, rest)
                    if order == 2:
                        compute_curvatures(frame, rest)
                        seed_or_clear(frame, order_2, count, c_2, at, rest)
                    return_through_layers(frame, rest)
                    sum_gradient(frame, out, int(begin > first_row or d > 0), rest)
                    add_order(frame, out, order_1, 0, rest)
                    if order == 2:
                        add_order(frame, out, order_2, 1, rest)
            if shard > 0:
                add_part(dtheta, out, net.parameters)

    return taylor_vjp
