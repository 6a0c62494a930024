"""Kernels of a user's scalar functions of z: the signatures of layers/activation_kernels.py, one number at a time.

They are not kept on disk: their source is not a part of the core's. The elements between width and stride are left
alone: a user's function never sees what is not a z.
"""

import functools

from numba import njit

from fastbp.core.ir.kernel import INT, POINTERS, VOID, Kernel


@functools.cache
def scalar(function):
    """The user's function as one that kernels can call; dividing by 0 gives an infinity or NaN."""
    return njit(error_model="numpy")(getattr(function, "py_func", function))


@functools.cache
def forward(value, size):
    P, sigma = POINTERS[size], scalar(value)

    def forward(a, z, rows, width, stride):
        for n in range(rows):
            for i in range(n * stride, n * stride + width):
                a[i] = sigma(z[i])

    return Kernel(forward, VOID(P, P, INT, INT, INT), None)


@functools.cache
def backward(derivative, size):
    P, slope = POINTERS[size], scalar(derivative)

    def backward(dz, z, a, da, rows, width, stride):
        for n in range(rows):
            for i in range(n * stride, n * stride + width):
                dz[i] = slope(z[i]) * da[i]

    return Kernel(backward, VOID(P, P, P, P, INT, INT, INT), None)


@functools.cache
def second(second, size):
    P, curvature = POINTERS[size], scalar(second)

    def kernel(out, z, a, rows, width, stride):
        for n in range(rows):
            for i in range(n * stride, n * stride + width):
                out[i] = curvature(z[i])

    return Kernel(kernel, VOID(P, P, P, INT, INT, INT), None)
