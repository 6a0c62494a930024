"""Gradients of one example at a time: its deltas times its inputs, not summed.

    ∂C_n/∂w_jk = a_nk dz_nj        ∂C_n/∂b_j = dz_nj        ‖∂C_n/∂θ‖² = Σ_layers Σ_j dz_nj² (Σ_k a_nk² + 1)

(I. Goodfellow, Efficient per-example gradient computations, arXiv:1510.01799, 2015.)
"""

import functools
import math

from fastbp.core.derivatives.curvature import targeting
from fastbp.core.derivatives.frame import block_of, opening
from fastbp.core.derivatives.passes import deltas_of, losing, transposing, valuing
from fastbp.core.derivatives.training import seeding_outputs
from fastbp.core.ir.kernel import INT, POINTERS, VOID, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import copy, fill, first, floats_at, load, rounded, shift, store
from fastbp.core.ir.traced import minimum, sum_of, traced
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import NET, layer_of

times = traced(lambda x, factor: x * factor)
plus_square = traced(lambda x, so_far: x * x + so_far)


@functools.cache
def multiplying(size):
    """(frame, out, d, capacity, row, n), for `inline`: overwrites out, like θ, by a_k dz_j and dz_j of all layers.

    dz is row `row` of the array d, a row n of `work`. 0 in frozen layers.
    """
    lanes = lanes_of(size)

    @inline
    def multiply(frame, out, d, capacity, row, n):
        net, work, a = frame.net, floats_at(frame.work, size), shift(floats_at(frame.x, size), n * frame.x_row)
        for l in range(net.layers):
            layer = layer_of(net, l)
            n_in, n_out, dz = layer.n_in, layer.n_out, place(d, capacity, row, layer, layer.dz)
            dw, biases = shift(out, layer.w), int(layer.b >= 0)
            if layer.frozen != 0:
                for i in range((n_in + biases) * n_out):
                    dw[i] = 0.0
            else:
                for k in range(n_in):
                    for j in range(0, n_out, lanes):
                        mask = first(n_out - j, lanes)
                        store(shift(dw, j), times(load(shift(dz, j), mask), a[k]), mask)
                    dw = shift(dw, n_out)
                copy(dw, dz, biases * n_out, lanes)
            a = place(work, frame.capacity, n, layer, layer.a)

    return multiply


@functools.cache
def measuring(size):
    """(frame, n), for `inline`: the square of the norm of an example's gradient, as float64, without it."""
    lanes = lanes_of(size)

    @inline
    def square(x, width):
        total = fill(x, 0.0, lanes)
        for i in range(0, width, lanes):
            total = plus_square(load(shift(x, i), first(width - i, lanes)), total)
        return 1.0 * sum_of(total)

    @inline
    def measure(frame, n):
        net, work, total = frame.net, floats_at(frame.work, size), 0.0
        a = shift(floats_at(frame.x, size), n * frame.x_row)
        for l in range(net.layers):
            layer = layer_of(net, l)
            if layer.frozen == 0:
                dz, bias = place(work, frame.capacity, n, layer, layer.dz), 1.0 if layer.b >= 0 else 0.0
                total += square(dz, layer.n_out) * (square(a, layer.n_in) + bias)
            a = place(work, frame.capacity, n, layer, layer.a)
        return total

    return measure


@functools.cache
def of_losses(size):
    """(frame, x, y, rows), for `inline`: dz of `work`, of each C_n for itself."""
    compute_values, compute_loss, compute_deltas = valuing(size), losing(size), deltas_of(size)
    targets_of = targeting(size)

    @inline
    def differentiate(frame, x, y, rows):
        compute_values(frame, x, rows)
        compute_loss(frame, targets_of(frame, y, rows), floats_at(frame.one, size), 0, rows, 1.0)
        compute_deltas(frame, floats_at(frame.work, size), frame.capacity, 1, rows, frame.net.fused)

    return differentiate


def kernel_of_examples(name, write, size):
    """Overwrites out by write(frame, out, n, at) of each example, number n of its block, `at` of all, by its deltas.

    Workspace: frame_size(net, rows, 1, 0).
    """
    P, open_frame, transpose, differentiate = POINTERS[size], opening(size), transposing(size), of_losses(size)

    @kernel(VOID(NET, P, P, P, P, INT, INT, P), name, size)
    def of_examples(net, theta, out, x, y, rows, few, workspace):
        wide_vectors()
        frame, block = open_frame(workspace, net, theta, rows, 1, 0, few), block_of(net, rows, 1)
        transpose(frame, floats_at(frame.wt, size), theta)
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            differentiate(frame, shift(x, begin * net.inputs), shift(y, begin * net.targets), count)
            for n in range(count):
                write(frame, out, n, begin + n)

    return of_examples


@functools.cache
def example_gradients(size):
    """Overwrites out (rows, parameters) by ∂C_n/∂θ: see `kernel_of_examples`."""
    multiply = multiplying(size)

    @inline
    def write_gradient(frame, out, n, at):
        gradient = shift(out, at * frame.net.parameters)
        multiply(frame, gradient, floats_at(frame.work, size), frame.capacity, n, n)

    return kernel_of_examples("gradients", write_gradient, size)


@functools.cache
def example_gradient_norms(size):
    """Overwrites out (rows) by ‖∂C_n/∂θ‖: see `kernel_of_examples`."""
    measure = measuring(size)

    @inline
    def write_norm(frame, out, n, at):
        out[at] = rounded(math.sqrt(measure(frame, n)), out)

    return kernel_of_examples("norms", write_norm, size)


@functools.cache
def parameter_jacobian(size):
    """Overwrites out (rows, n_out, parameters) by ∂y_nj/∂θ. Workspace: frame_size(net, rows, n_out, 1)."""
    P, open_frame, compute_values, transpose = POINTERS[size], opening(size), valuing(size), transposing(size)
    seed_outputs, compute_deltas, multiply = seeding_outputs(size), deltas_of(size), multiplying(size)

    @kernel(VOID(NET, P, P, P, INT, INT, P), size)
    def parameter_jacobian(net, theta, out, x, rows, few, workspace):
        wide_vectors()
        n_in, n_out = net.inputs, net.outputs
        frame = open_frame(workspace, net, theta, rows, n_out, 1, few)
        block, order_1 = block_of(net, rows, n_out), floats_at(frame.order_1, size)
        transpose(frame, floats_at(frame.wt, size), theta)
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            compute_values(frame, shift(x, begin * n_in), count)
            seed_outputs(frame, count)
            compute_deltas(frame, order_1, frame.directions_capacity, n_out, count, 0)
            for n in range(count):
                for j in range(n_out):
                    row = shift(out, ((begin + n) * n_out + j) * net.parameters)
                    multiply(frame, row, order_1, frame.directions_capacity, j * count + n, n)

    return parameter_jacobian
