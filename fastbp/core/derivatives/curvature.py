"""Products of the cost's second derivatives in θ with a vector v, by the R-operator: tangents along θ' = v, then

    dz'_j = σ''(z_j) z'_j da_j + σ'(z_j) da'_j      da'_k = Σ_j w_jk dz'_j + Σ_j v_jk dz_j
    dw'_jk = Σ_n dz'_j a_k + dz_j a'_k              db'_j = Σ_n dz'_j

(R. Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6, 1994.) With the loss's own output it
gives dz' at once (see loss_second.py), else da' = ∂²c/∂a² a'. The Gauss-Newton product keeps the loss's curvature
alone: these dz' or da' of the outputs lead down as deltas do (N. Schraudolph, Neural Computation 14, 2002).
"""

import functools

from fastbp.core.derivatives.frame import block_of, opening
from fastbp.core.derivatives.passes import deltas_of, losing, pulling, tangents_of, transposing, valuing
from fastbp.core.derivatives.products import adding_parts
from fastbp.core.ir.kernel import DOUBLE, INT, POINTERS, VOID, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import address_of, first, floats_at, load, shift, store
from fastbp.core.ir.traced import minimum, traced
from fastbp.core.layers import calls
from fastbp.core.layers.forward_backward import place
from fastbp.core.layers.smoothing import smooth
from fastbp.core.slots import NET, layer_of


@functools.cache
def targeting(size):
    """(frame, y, rows) -> targets as the loss takes them: y, or in the frame standardized or smoothed; for `inline`."""

    @inline
    def targets_of(frame, y, rows):
        net, targets = frame.net, floats_at(frame.targets, size)
        if net.kept != 0:
            smooth(targets, y, rows, net.target_row, net.classes, net.kept, net.spread)
        elif frame.raw != 0 and net.standardize_targets != 0:
            calls.standardize_targets(net, targets, (y, 0), rows)
        else:
            return y
        return targets

    return targets_of


@functools.cache
def bending_loss(size, convex):
    """(frame, y, w, w_row, rows, scale), for `inline`: dz' of the last layer in `order_1` if the loss is fused, else
    da', of the a' there.
    """
    call_kernel = calls.loss_convex if convex else calls.loss_second

    @inline
    def bend_loss(frame, y, w, w_row, rows, scale):
        net, order_1, capacity = frame.net, floats_at(frame.order_1, size), frame.capacity
        layer = layer_of(net, net.layers - 1)
        a = place(floats_at(frame.work, size), capacity, 0, layer, layer.a)
        a_t = place(order_1, capacity, 0, layer, layer.a)
        out = place(order_1, capacity, 0, layer, layer.dz if net.fused else layer.da)
        call_kernel(net, out, (a, a_t), (y, w, w_row), (rows, layer.n_out, layer.stride), scale)

    return bend_loss


@functools.cache
def curving(size):
    """(frame, v, rows), for `inline`: dz' and da' of `order_1`, from those of the loss and dz and da of `work`."""
    pull = pulling(size)

    @inline
    def compute_curved_deltas(frame, v, rows):
        net, work, order_1 = frame.net, floats_at(frame.work, size), floats_at(frame.order_1, size)
        capacity, zeros, theta = frame.capacity, floats_at(frame.zeros, size), floats_at(frame.theta, size)
        wt, vt = floats_at(frame.wt, size), floats_at(frame.vt, size)
        for l in range(net.layers - 1, net.lowest - 1, -1):
            layer = layer_of(net, l)
            dz_t = place(order_1, capacity, 0, layer, layer.dz)
            if l + 1 < net.layers or net.fused == 0:
                z, a = place(work, capacity, 0, layer, layer.z), place(work, capacity, 0, layer, layer.a)
                z_t, a_t = place(order_1, capacity, 0, layer, layer.z), place(order_1, capacity, 0, layer, layer.a)
                da, da_t = place(work, capacity, 0, layer, layer.da), place(order_1, capacity, 0, layer, layer.da)
                calls.second(layer, dz_t, (z, a), (z_t, a_t), (da, da_t), (rows, layer.n_out, layer.stride))
            if l > net.lowest:
                below, dz = layer_of(net, l - 1), place(work, capacity, 0, layer, layer.dz)
                out = place(order_1, capacity, 0, below, below.da)
                if layer.frozen == 0:
                    pull(frame, l, out, below.stride, zeros, 0, dz, v, vt, rows)
                    pull(frame, l, out, below.stride, out, below.stride, dz_t, theta, wt, rows)
                else:
                    pull(frame, l, out, below.stride, zeros, 0, dz_t, theta, wt, rows)

    return compute_curved_deltas


@functools.cache
def summing_products(size):
    """(frame, out, add, rows, curved), for `inline`: dw' and db'; overwrites or adds to out.

    curved = 0: without the terms dz_j a'_k.
    """

    @inline
    def sum_products(frame, out, add, rows, curved):
        net, zeros, scratch = frame.net, floats_at(frame.zeros, size), floats_at(frame.scratch, size)
        work, order_1, capacity = floats_at(frame.work, size), floats_at(frame.order_1, size), frame.capacity
        a, a_row = floats_at(frame.x, size), frame.x_row
        a_t = a
        for l in range(net.layers):
            layer = layer_of(net, l)
            n_in, dw = layer.n_in, shift(out, layer.w)
            n_rows = n_in + int(layer.b >= 0)
            if layer.frozen != 0:
                for i in range(n_rows * layer.n_out):
                    dw[i] = 0.0
            else:
                of_order_1, of_values = (order_1, capacity, rows), (work, capacity, rows)
                calls.sums(net, layer, (dw, add), (zeros, scratch), (a, a_row), of_order_1, (0, n_rows))
                if curved and l > 0:
                    calls.sums(net, layer, (dw, 1), (zeros, scratch), (a_t, a_row), of_values, (0, n_in))
            a, a_t = place(work, capacity, 0, layer, layer.a), place(order_1, capacity, 0, layer, layer.a)
            a_row = layer.stride

    return sum_products


@functools.cache
def of_hessian(size):
    """(frame, x, y, w, w_row, v, rows, scale), for `inline`: all that dw' and db' of the examples are made of."""
    compute_values, compute_loss, compute_deltas = valuing(size), losing(size), deltas_of(size)
    compute_tangents, bend_loss, compute_curved_deltas = tangents_of(size), bending_loss(size, False), curving(size)

    @inline
    def differentiate(frame, x, y, w, w_row, v, rows, scale):
        net = frame.net
        compute_values(frame, x, rows)
        compute_loss(frame, y, w, w_row, rows, scale)
        compute_deltas(frame, floats_at(frame.work, size), frame.capacity, 1, rows, net.fused)
        compute_tangents(frame, 0, address_of(v), 1, rows)
        bend_loss(frame, y, w, w_row, rows, scale)
        compute_curved_deltas(frame, v, rows)

    return differentiate


@functools.cache
def of_gauss_newton(size):
    """As `of_hessian`, of the Gauss-Newton product."""
    compute_values, compute_tangents = valuing(size), tangents_of(size)
    bend_loss, compute_deltas = bending_loss(size, True), deltas_of(size)

    @inline
    def differentiate(frame, x, y, w, w_row, v, rows, scale):
        compute_values(frame, x, rows)
        compute_tangents(frame, 0, address_of(v), 1, rows)
        bend_loss(frame, y, w, w_row, rows, scale)
        compute_deltas(frame, floats_at(frame.order_1, size), frame.capacity, 1, rows, frame.net.fused)

    return differentiate


def product_kernel(name, differentiate, curved, size):
    """Overwrites out, like θ, by the product with v of the examples' Σ_n w_n scale C_n; without penalties.

    weights: an address, 0 for none; none of them is 0. v counts as 0 in frozen layers. Sums over examples as in
    `products.vjp`. Workspace: frame_size(net, rows, 1, 1).
    """
    P, open_frame, transpose = POINTERS[size], opening(size), transposing(size)
    sum_products, add_part, targets_of = summing_products(size), adding_parts(size), targeting(size)

    @kernel(VOID(NET, P, P, P, P, P, INT, INT, INT, INT, DOUBLE, P), name, size)
    def product(net, theta, out, x, y, v, weights, rows, shards, few, scale, workspace):
        wide_vectors()
        frame = open_frame(workspace, net, theta, rows, 1, 1, few)
        block, n_in, w_row = block_of(net, rows, 1), net.inputs, int(weights != 0)
        w = floats_at(weights if weights != 0 else frame.one, size)
        transpose(frame, floats_at(frame.wt, size), theta)
        if curved:
            transpose(frame, floats_at(frame.vt, size), v)
        for shard in range(shards):
            part = out if shard == 0 else floats_at(frame.partial, size)
            first_row, end = rows * shard // shards, rows * (shard + 1) // shards
            for begin in range(first_row, end, block):
                count, inputs = minimum(block, end - begin), shift(x, begin * n_in)
                targets = targets_of(frame, shift(y, begin * net.targets), count)
                differentiate(frame, inputs, targets, shift(w, begin * w_row), w_row, v, count, scale)
                sum_products(frame, part, int(begin > first_row), count, curved)
            if shard > 0:
                add_part(out, part, net.parameters)

    return product


@functools.cache
def hessian_vector_product(size):
    """See `product_kernel`."""
    return product_kernel("hessian", of_hessian(size), True, size)


@functools.cache
def gauss_newton_vector_product(size):
    """See `product_kernel`."""
    return product_kernel("gauss_newton", of_gauss_newton(size), False, size)


@functools.cache
def adding_penalty(size):
    """(net, out, v), for `inline`: adds l2 v of the weights to out, in the layers that are not frozen."""
    lanes = lanes_of(size)
    penalised = traced(lambda out, v, l2: v * l2 + out)

    @inline
    def penalise(net, out, v):
        for l in range(net.layers):
            layer = layer_of(net, l)
            count = 0 if layer.frozen != 0 else layer.n_in * layer.n_out
            for i in range(0, count, lanes):
                mask, at = first(count - i, lanes), layer.w + i
                store(shift(out, at), penalised(load(shift(out, at), mask), load(shift(v, at), mask), net.l2), mask)

    return penalise


@functools.cache
def add_penalty(size):
    """Adds l2 v of the weights to out, in the layers that are not frozen."""
    P, penalise = POINTERS[size], adding_penalty(size)

    @kernel(VOID(NET, P, P), size)
    def add_penalty(net, out, v):
        wide_vectors()
        penalise(net, out, v)

    return add_penalty
