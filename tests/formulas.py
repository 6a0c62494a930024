"""Formulas on vectors, run on arrays: any number of them compiled together, as one kernel."""

import ctypes
import functools

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.lanes import Lanes
from fastbp.core.ir.memory import load_lanes, shift, store_lanes
from fastbp.core.ir.types import INT64, Mask, Vector


def batch(formulas, size):
    """Kernel (out, x, y, count): row i of out (formulas, count) is the i-th formula of x and y; whole vectors."""
    lanes, P = lanes_of(size), POINTERS[size]
    vector, mask = Vector(P.dtype, lanes), Mask(lanes, full=True)

    @intrinsic
    def store_all(typingctx, out, x, y, count):
        def codegen(context, builder, sig, args):
            inputs = [Lanes(builder, load_lanes(builder, pointer, vector, mask, None)) for pointer in args[1:3]]
            for i, formula in enumerate(formulas):
                row = builder.gep(args[0], [builder.mul(args[3], INT64(i))])
                store_lanes(builder, row, vector, formula(*inputs).value, mask, None)
            return context.get_dummy_value()

        return types.void(out, x, y, types.int64), codegen

    @kernel(VOID(P, P, P, INT))
    def batch(out, x, y, count):
        wide_vectors()
        for i in range(0, count, lanes):
            store_all(shift(out, i), shift(x, i), shift(y, i), count)

    return batch


@functools.cache
def compiled(formulas, size):
    code = batch(formulas, size).uncached()  # on the disk it would have to be told from other batches
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
