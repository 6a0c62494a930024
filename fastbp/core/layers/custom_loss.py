"""The kernel of a loss that is a user's functions of two numbers.

It is not kept on disk: its source is not a part of the core's.
"""

import functools

from numba import float64, njit

from fastbp.core.ir.kernel import Kernel, loss_signature
from fastbp.core.ir.memory import rounded, shift


@functools.cache
def of_two_numbers(function):
    """The user's function of two numbers, compiled for float64; dividing by 0 gives an infinity or NaN."""
    return njit([float64(float64, float64)], error_model="numpy")(getattr(function, "py_func", function))


@functools.cache  # tables name the kernel by its address, as long as the process lives
def of_functions(value, derivative, size):
    """The kernel (see layers/loss.py) of C_n = Σ_j value(a_j, y_j), in float64 throughout."""
    cost, slope = of_two_numbers(value), of_two_numbers(derivative)

    def custom(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        for n in range(rows):
            weight, total = weights[n * w_row], 0.0
            factor = weight * scale
            for j in range(width):
                delta = 0.0
                if weight != 0.0:
                    total += cost(x[j], y[j])
                    delta = slope(x[j], y[j]) * factor
                d[j] = rounded(delta, d)
            costs[n] = rounded(weight * total, costs)
            d, x, y = shift(d, stride), shift(x, stride), shift(y, width)

    return Kernel(custom, loss_signature(size), None)
