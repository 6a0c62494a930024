"""Formulas on vectors, run on arrays: any number of them compiled together, as one kernel."""

import ctypes
import functools

import numpy as np

from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import shift
from fastbp.core.ir.traced import procedure


def batch(formulas, size):
    """Kernel (out, x, y, count): row i of out (formulas, count) is the i-th formula of x and y; whole vectors."""
    lanes, P = lanes_of(size), POINTERS[size]

    @procedure
    def store_all(out, x, y, count):
        inputs = x.load(lanes), y.load(lanes)
        for i, formula in enumerate(formulas):
            (out + count * i).store(formula(*inputs))

    @kernel(VOID(P, P, P, INT))
    def batch(out, x, y, count):
        wide_vectors()
        for i in range(0, count, lanes):
            store_all(shift(out, i), shift(x, i), shift(y, i), count)

    return batch


def run(function, out, x, count=0):
    """function(out, x, count) as compiled code: a procedure on pointers to arrays and an integer."""
    compute, P = procedure(function), POINTERS[x.itemsize]

    @kernel(VOID(P, P, INT))
    def call(out, x, count):
        compute(out, x, count)

    code = call.uncached()
    code.compile()
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    prototype(code.address)(out.ctypes.data, x.ctypes.data, count)


@functools.cache
def compiled(formulas, size):
    code = batch(formulas, size).uncached()  # on the disk its key would have to distinguish batches
    code.compile()
    return code


def values_of(formulas, x, y=None):
    """One row for each formula of x and y, vectors of one dtype; a tuple of formulas is compiled once."""
    lanes = lanes_of(x.itemsize)
    padded = -(-len(x) // lanes) * lanes
    inputs = [np.resize(array, padded) for array in (x, x if y is None else y)]
    out = np.full((len(formulas), padded), np.nan, x.dtype)
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(compiled(formulas, x.itemsize).address)
    run(out.ctypes.data, *(array.ctypes.data for array in inputs), padded)
    return out[:, : len(x)]
