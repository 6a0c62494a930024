"""The affine maps before the first layer and behind the last one, whose vectors lie behind the layers in the table.

    x̂_k = (x_k - mean_k) factor_k              factor = 1 / scale, rounded
    y_j = a_j output_scale_j + output_mean_j   ŷ_j = (y_j - output_mean_j) output_factor_j for targets

Each operation is rounded as it stands: NumPy gives the same bits. Only networks with a scaling compile these kernels.
"""

import functools

from fastbp.core.ir.kernel import INT, POINTERS, VOID, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import address_of, first, floats_at, integers_at, load, rounded, shift, store
from fastbp.core.ir.traced import traced
from fastbp.core.slots import NET

MEAN, FACTOR, OUTPUT_MEAN, OUTPUT_SCALE, OUTPUT_FACTOR = range(5)
"""The vectors, of Net.widest elements each; the last three only if the outputs are scaled."""

difference_times = traced(lambda x, mean, factor: (x - mean) * factor)
product_plus = traced(lambda a, scale, mean: a * scale + mean)
product = traced(lambda x, factor: x * factor)
first_product = traced(lambda x, factor, _: x * factor)


@functools.cache
def vectors_of(size):
    """(net, i) -> the i-th vector of the scaling, for `inline`."""

    @inline
    def vector(net, i):
        return shift(floats_at(address_of(net) + net.scaling * 8, size), i * net.widest)

    return vector


def affine(size, formula):
    """(out, o_row, x, x_row, u, v, rows, width), for `inline`: out = formula(x, u, v) with vectors u and v."""
    lanes = lanes_of(size)

    @inline
    def map_rows(out, o_row, x, x_row, u, v, rows, width):
        for k in range(0, width, lanes):
            mask = first(width - k, lanes)
            u_k, v_k, x_k, out_k = load(shift(u, k), mask), load(shift(v, k), mask), shift(x, k), shift(out, k)
            for n in range(rows):
                store(shift(out_k, n * o_row), formula(load(shift(x_k, n * x_row), mask), u_k, v_k), mask)

    return map_rows


@functools.cache
def standardize(size):
    """Overwrites out (rows, high - low) by the inputs k = low … high - 1, scaled: x̂ = (x - mean) factor.

    out and x, which may be one, begin with input `low`; their rows are o_row and x_row apart.
    """
    P, vector, map_rows = POINTERS[size], vectors_of(size), affine(size, difference_times)

    @kernel(VOID(NET, P, INT, P, INT, INT, INT, INT), size)
    def standardize(net, out, o_row, x, x_row, rows, low, high):
        wide_vectors()
        mean, factor = shift(vector(net, MEAN), low), shift(vector(net, FACTOR), low)
        map_rows(out, o_row, x, x_row, mean, factor, rows, high - low)

    return standardize


@functools.cache
def standardize_targets(size):
    """Overwrites out (rows, outputs): ŷ = (y - output_mean) output_factor.

    Of the rows order[n] of y, the address of their numbers, or of the first ones if that is 0. It reads where the
    targets lie, not their gathered copy: a load has to wait for masked stores.
    """
    P, vector, map_rows, lanes = POINTERS[size], vectors_of(size), affine(size, difference_times), lanes_of(size)

    @kernel(VOID(NET, P, P, INT, INT), size)
    def standardize_targets(net, out, y, order, rows):
        wide_vectors()
        n_out, mean, factor = net.outputs, vector(net, OUTPUT_MEAN), vector(net, OUTPUT_FACTOR)
        if order == 0:
            map_rows(out, n_out, y, n_out, mean, factor, rows, n_out)
            return
        numbers = integers_at(order)
        for j in range(0, n_out, lanes):
            mask, y_j, out_j = first(n_out - j, lanes), shift(y, j), shift(out, j)
            mean_j, factor_j = load(shift(mean, j), mask), load(shift(factor, j), mask)
            for n in range(rows):
                raw = load(shift(y_j, numbers[n] * n_out), mask)
                store(shift(out_j, n * n_out), difference_times(raw, mean_j, factor_j), mask)

    return standardize_targets


@functools.cache
def restore(size):
    """Overwrites out (rows, outputs; rows o_row apart), which may be a, by outputs in raw units: a scale + mean."""
    P, vector, map_rows = POINTERS[size], vectors_of(size), affine(size, product_plus)

    @kernel(VOID(NET, P, INT, P, INT, INT), size)
    def restore(net, out, o_row, a, a_row, rows):
        wide_vectors()
        map_rows(out, o_row, a, a_row, vector(net, OUTPUT_SCALE), vector(net, OUTPUT_MEAN), rows, net.outputs)

    return restore


@functools.cache
def multiply(size):
    """Overwrites out (rows, width), which may be x, by x times the vector of this number, of inputs or outputs.

    Derivatives in raw units: by FACTOR for each ∂ / ∂x_k and dx̂_k = factor_k dx_k, by OUTPUT_SCALE for each y_j.
    """
    P, vector, map_rows = POINTERS[size], vectors_of(size), affine(size, first_product)

    @kernel(VOID(NET, P, INT, P, INT, INT, INT), size)
    def multiply(net, out, o_row, x, x_row, rows, number):
        wide_vectors()
        factor, width = vector(net, number), net.inputs if number == FACTOR else net.outputs
        map_rows(out, o_row, x, x_row, factor, factor, rows, width)

    return multiply


@functools.cache
def multiply_derivatives(size):
    """Changes derivatives of the outputs to raw units, which are ∂ŷ/∂x̂ of the standardized network.

    order 1: out (rows, outputs, inputs) times output_scale_j factor_k; order 2: out (rows, outputs, inputs, inputs)
    times output_scale_j (factor_k factor_m), which keeps it symmetric to the bit.
    """
    P, vector, lanes = POINTERS[size], vectors_of(size), lanes_of(size)

    @kernel(VOID(NET, P, INT, INT), size)
    def multiply_derivatives(net, out, rows, order):
        wide_vectors()
        n_in, n_out, factor = net.inputs, net.outputs, vector(net, FACTOR)
        lines = n_in if order == 2 else 1
        for i in range(rows * n_out * lines):
            j, k, out_i = i // lines % n_out, i % lines, shift(out, i * n_in)
            scale = vector(net, OUTPUT_SCALE)[j] if net.restore != 0 else rounded(1.0, out)
            for m in range(0, n_in, lanes):
                mask, at = first(n_in - m, lanes), shift(out_i, m)
                f_m = load(shift(factor, m), mask)
                if order == 2:
                    f_m = product(f_m, factor[k])
                store(at, product(load(at, mask), product(f_m, scale)), mask)

    return multiply_derivatives
