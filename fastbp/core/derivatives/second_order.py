"""The kernels of σ'', in the form in which every second derivative needs it, and those of softmax.

With z' and a' along a direction, and u and u' in the place of da and da':

    elementwise     out_j = σ''(z_j) z'_j u_j + σ'(z_j) u'_j
    softmax         out_j = a'_j (u_j - Σ_i a_i u_i) + a_j (u'_j - Σ_i (a'_i u_i + a_i u'_i))

`bend` adds the part with u alone to out: where many directions bend one dz.

This is dz' of da and da' (Pearlmutter, Neural Computation 6, 1994), and a'' of u = z' and u' = z''.
"""

import functools

from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.ir.kernel import INT, POINTERS, VOID, Kernel, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import every, fill, first, load, shift, store
from fastbp.core.ir.traced import sum_of, traced
from fastbp.core.layers import custom_activation


def second_signature(size):
    """Of every kernel here: out, z, a, z', a', u, u', rows, width, stride."""
    P = POINTERS[size]
    return VOID(P, P, P, P, P, P, P, INT, INT, INT)


@functools.cache
def second(activation, size):
    """The kernel of an activation. Overwrites out (rows, width; rows `stride` apart); out may be u'."""
    if activation == "softmax":
        return softmax_second(size)
    if not isinstance(activation, str):
        return custom_second(activation.derivative, activation.second, size)
    lanes, row = lanes_of(size), ACTIVATIONS[activation]

    @traced
    def curved(z, a, z_t, u, u_t):
        return row.second(z, a) * (z_t * u) + row.derivative(z, a) * u_t

    @kernel(second_signature(size), activation, size)
    def second(out, z, a, z_t, a_t, u, u_t, rows, width, stride):
        wide_vectors()
        whole = every(lanes)
        for i in range(0, rows * stride, lanes):
            z_i, a_i = load(shift(z, i), whole), load(shift(a, i), whole)
            z_ti, u_i, u_ti = load(shift(z_t, i), whole), load(shift(u, i), whole), load(shift(u_t, i), whole)
            store(shift(out, i), curved(z_i, a_i, z_ti, u_i, u_ti), whole)

    return second


@functools.cache
def custom_second(derivative, second, size):
    """As `second`, of a user's functions, one number at a time."""
    slope, curvature = custom_activation.scalar(derivative), custom_activation.scalar(second)

    def kernel(out, z, a, z_t, a_t, u, u_t, rows, width, stride):
        for n in range(rows):
            for i in range(n * stride, n * stride + width):
                out[i] = curvature(z[i]) * (z_t[i] * u[i]) + slope(z[i]) * u_t[i]

    return Kernel(kernel, second_signature(size), None)


@functools.cache
def softmax_second(size):
    """As `second`, of softmax."""
    lanes = lanes_of(size)
    add_product = traced(lambda x, y, total: x * y + total)
    add_products = traced(lambda a, a_t, u, u_t, total: a_t * u + a * u_t + total)
    curved = traced(lambda a, a_t, u, u_t, dot, dot_t: a_t * (u - dot) + a * (u_t - dot_t))

    @kernel(second_signature(size), size)
    def softmax_second(out, z, a, z_t, a_t, u, u_t, rows, width, stride):
        wide_vectors()
        for n in range(rows):
            at = n * stride
            a_n, a_tn, u_n, u_tn = shift(a, at), shift(a_t, at), shift(u, at), shift(u_t, at)
            dots, dots_t = fill(a, 0.0, lanes), fill(a, 0.0, lanes)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                a_j, u_j = load(shift(a_n, j), mask), load(shift(u_n, j), mask)
                a_tj, u_tj = load(shift(a_tn, j), mask), load(shift(u_tn, j), mask)
                dots, dots_t = add_product(a_j, u_j, dots), add_products(a_j, a_tj, u_j, u_tj, dots_t)
            dot, dot_t = sum_of(dots), sum_of(dots_t)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                a_j, u_j = load(shift(a_n, j), mask), load(shift(u_n, j), mask)
                a_tj, u_tj = load(shift(a_tn, j), mask), load(shift(u_tn, j), mask)
                store(shift(out, at + j), curved(a_j, a_tj, u_j, u_tj, dot, dot_t), mask)

    return softmax_second


# --- added up over directions -----------------------------------------------------------------------------------------


def bend_signature(size):
    """Of every kernel here: out, z, a, z', a', u, rows, width, stride."""
    P = POINTERS[size]
    return VOID(P, P, P, P, P, P, INT, INT, INT)


@functools.cache
def bend(activation, size):
    """Adds to out (rows, width; rows `stride` apart): out_j += σ''(z_j) z'_j u_j."""
    if activation == "softmax":
        return softmax_bend(size)
    if not isinstance(activation, str):
        return custom_bend(activation.second, size)
    lanes, row = lanes_of(size), ACTIVATIONS[activation]
    add_bend = traced(lambda out, z, a, z_t, u: row.second(z, a) * (z_t * u) + out)

    @kernel(bend_signature(size), activation, size)
    def bend(out, z, a, z_t, a_t, u, rows, width, stride):
        wide_vectors()
        whole = every(lanes)
        for i in range(0, rows * stride, lanes):
            at, z_i, a_i = shift(out, i), load(shift(z, i), whole), load(shift(a, i), whole)
            z_ti, u_i = load(shift(z_t, i), whole), load(shift(u, i), whole)
            store(at, add_bend(load(at, whole), z_i, a_i, z_ti, u_i), whole)

    return bend


@functools.cache
def custom_bend(second, size):
    """As `bend`, of a user's function, one number at a time."""
    curvature = custom_activation.scalar(second)

    def kernel(out, z, a, z_t, a_t, u, rows, width, stride):
        for n in range(rows):
            for i in range(n * stride, n * stride + width):
                out[i] += curvature(z[i]) * (z_t[i] * u[i])

    return Kernel(kernel, bend_signature(size), None)


@functools.cache
def softmax_bend(size):
    """As `bend`, of softmax: out_j += a'_j (u_j - Σ_i a_i u_i) - a_j Σ_i a'_i u_i."""
    lanes = lanes_of(size)
    add_product = traced(lambda x, y, total: x * y + total)
    add_bend = traced(lambda out, a, a_t, u, dot, dot_t: a_t * (u - dot) - a * dot_t + out)

    @kernel(bend_signature(size), size)
    def softmax_bend(out, z, a, z_t, a_t, u, rows, width, stride):
        wide_vectors()
        for n in range(rows):
            at = n * stride
            a_n, a_tn, u_n = shift(a, at), shift(a_t, at), shift(u, at)
            dots, dots_t = fill(a, 0.0, lanes), fill(a, 0.0, lanes)
            for j in range(0, width, lanes):
                mask = first(width - j, lanes)
                a_j, a_tj, u_j = load(shift(a_n, j), mask), load(shift(a_tn, j), mask), load(shift(u_n, j), mask)
                dots, dots_t = add_product(a_j, u_j, dots), add_product(a_tj, u_j, dots_t)
            dot, dot_t = sum_of(dots), sum_of(dots_t)
            for j in range(0, width, lanes):
                mask, out_j = first(width - j, lanes), shift(out, at + j)
                a_j, a_tj, u_j = load(shift(a_n, j), mask), load(shift(a_tn, j), mask), load(shift(u_n, j), mask)
                store(out_j, add_bend(load(out_j, mask), a_j, a_tj, u_j, dot, dot_t), mask)

    return softmax_bend
