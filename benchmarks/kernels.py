"""The kernels of the core as work to be measured: an address, its arguments, and the operations of one call.

`repeat` calls a kernel by its address in a compiled loop, so that nothing of Python is measured.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import ir

from fastbp.bench.cases import Array
from fastbp.core import slots
from fastbp.core.formulas import elementary, optimizers
from fastbp.core.ir.kernel import INT, POINTERS, VOID, Kernel, call, kernel, lanes_of, wide_vectors
from fastbp.core.ir.lanes import Lanes
from fastbp.core.ir.memory import every, fill, store
from fastbp.core.ir.traced import multiply_add, traced
from fastbp.core.ir.types import Vector
from fastbp.core.layers import activation_kernels
from fastbp.core.layers.loss import loss_kernel
from fastbp.core.matmul import forms, packed_weights, transpose
from fastbp.core.step import update as update_kernels
from fastbp.engine.layer_tables import stride_of
from fastbp.engine.network_table import Objective, aligned_zeros, training_table
from fastbp.network import Network
from fastbp.optimizers import OPTIMIZERS, ScheduledOptimizer
from fastbp.schedules import Progress

EXAMPLES = 128
WIDTHS = (10, 32, 64, 100, 128, 256, 512)
DTYPES = ("float32", "float64")


@dataclass
class Work:
    """One call of a kernel; operations: floating-point operations, a multiply-add being two; arrays: kept alive."""

    address: int
    arguments: tuple[Any, ...]
    operations: float
    arrays: Any = None

    def seconds(self, at_least: float = 1e-3) -> tuple[float, float]:
        """(wall, CPU) of one call, the average over about `at_least` seconds."""
        times = 1
        while True:
            start = time.perf_counter(), time.process_time()
            repeat(times, self.address, self.arguments)
            elapsed = time.perf_counter() - start[0], time.process_time() - start[1]
            if elapsed[1] > 0.5 * at_least:
                return elapsed[0] / times, elapsed[1] / times
            times = max(2 * times, int(times * at_least / max(elapsed[1], 1e-7)))


@numba.njit
def repeat(times, address, arguments):
    """Call the C function at the address `times` times; pointers are integers."""
    for _ in range(times):
        call(address, *arguments)


def numbers(count: int, dtype: str, seed: int = 0) -> Array:
    """count numbers between 0.1 and 0.9, aligned."""
    array = aligned_zeros(count, dtype)
    array[:] = np.random.default_rng(seed).uniform(0.1, 0.9, count)
    return array


# --- the peak -------------------------------------------------------------------------------------------------------

CHAINS = 12  # enough to hide the latency of two units, and few enough for 16 registers
TURNS = 10_000


@functools.cache
def chains(size: int) -> Kernel:
    """Kernel (out, turns): 12 chains s ← ½ s + 1 of multiply-adds in registers. Overwrites out (one vector)."""
    lanes, P = lanes_of(size), POINTERS[size]
    step = traced(lambda half, one, a, b, c, d: tuple(multiply_add(s, half, one) for s in (a, b, c, d)))
    add = traced(lambda a, b, c, d: a + b + c + d)

    @kernel(VOID(P, INT), size)
    def chains(out, turns):
        wide_vectors()
        half, one = fill(out, 0.5, lanes), fill(out, 1.0, lanes)
        a, b, c, d = fill(out, 0.1, lanes), fill(out, 0.2, lanes), fill(out, 0.3, lanes), fill(out, 0.4, lanes)
        e, f, g, h = fill(out, 0.5, lanes), fill(out, 0.6, lanes), fill(out, 0.7, lanes), fill(out, 0.8, lanes)
        i, j, k, l = fill(out, 0.9, lanes), fill(out, 1.1, lanes), fill(out, 1.2, lanes), fill(out, 1.3, lanes)
        for _ in range(turns):
            a, b, c, d = step(half, one, a, b, c, d)
            e, f, g, h = step(half, one, e, f, g, h)
            i, j, k, l = step(half, one, i, j, k, l)
        sums = add(add(a, b, c, d), add(e, f, g, h), add(i, j, k, l), one)
        store(out, sums, every(lanes))

    return chains


def peak(dtype: str) -> Work:
    """Multiply-adds in registers: as fast as a core can."""
    size = np.dtype(dtype).itemsize
    out = aligned_zeros(lanes_of(size), dtype)
    operations = 2 * CHAINS * TURNS * lanes_of(size)
    return Work(chains(size).address, (out.ctypes.data, TURNS), operations, out)


# --- the three sums -------------------------------------------------------------------------------------------------


def square_network(width: int, dtype: str) -> Array:
    """The table of a network width-width-width: it holds the addresses of what its layers use."""
    objective = Objective("squared_error", classes=False, mean=True)
    return training_table(Network((width, width, width)), np.dtype(dtype).itemsize, objective)


def dense(width: int, dtype: str, which: str) -> Work:
    """forward and deltas: EXAMPLES rows, sums over width; weights: width rows, sums over EXAMPLES.

    The forward sum reads packed weights where training does.
    """
    net, stride = square_network(width, dtype), stride_of(width, np.dtype(dtype).itemsize)
    zeros, a, out = (numbers(stride * max(width, EXAMPLES), dtype, seed) for seed in range(3))
    zeros[:] = 0
    v = numbers(stride * max(width, EXAMPLES), dtype, 3)
    operations = 2.0 * EXAMPLES * width * width
    if which == "forward" and forms.packs_weights(width, width, out.itemsize):
        v = numbers(packed_weights.packed_size(width, width, out.itemsize), dtype, 3)
        arguments = (
            net[slots.Net.panels :].ctypes.data, out.ctypes.data, stride, zeros.ctypes.data, a.ctypes.data, stride,
            v.ctypes.data, width, 0, EXAMPLES, width, width,
        )  # fmt: skip
        return Work(int(net[slots.Net.packed_dense]), arguments, operations, (net, zeros, a, out, v))
    v_row = width if which == "forward" else stride
    rows, terms, s_row, s_sum = EXAMPLES, width, stride, 1
    if which == "weights":
        rows, terms, s_row, s_sum = width, EXAMPLES, 1, stride
    c_row = width if which == "weights" else stride
    arguments = (
        net[slots.Net.panels :].ctypes.data, out.ctypes.data, c_row, 0, zeros.ctypes.data, 0, a.ctypes.data, s_row,
        s_sum, v.ctypes.data, v_row, rows, width, terms,
    )  # fmt: skip
    return Work(int(net[slots.Net.dense]), arguments, operations, (net, zeros, a, out, v))


def transposed(width: int, dtype: str) -> Work:
    """Of width x width weights. It computes nothing: an element counts as one operation."""
    x, out = numbers(width * width, dtype), numbers(width * stride_of(width, np.dtype(dtype).itemsize), dtype)
    arguments = (out.ctypes.data, stride_of(width, np.dtype(dtype).itemsize), x.ctypes.data, width, width, width)
    return Work(transpose.transpose(x.itemsize).address, arguments, width * width, (x, out))


# --- formulas -------------------------------------------------------------------------------------------------------


def operations(formula: Callable[..., Any], arguments: int, coefficients: int = 0) -> int:
    """Operations for one element, counted in the instructions that the formula makes."""
    builder = ir.IRBuilder(ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "f").append_basic_block())
    vector = Vector(numba.float32, 4).llvm
    lanes = [Lanes(builder, ir.Constant(vector, ir.Undefined)) for _ in range(arguments)]
    formula(*lanes, *([lanes[:1] * coefficients] if coefficients else []))
    names = [instruction.opname for instruction in builder.block.instructions]
    return sum(name in ("fadd", "fsub", "fmul", "fdiv", "fneg", "fcmp") for name in names) + 2 * names.count("call")


def activation(width: int, dtype: str, name: str) -> Work:
    """σ of EXAMPLES rows."""
    z, a = (numbers(EXAMPLES * stride_of(width, np.dtype(dtype).itemsize), dtype, seed) for seed in range(2))
    each = operations(elementary.exp, 1) + 5  # maximum, difference, sum, quotient
    if name != "softmax":
        each = operations(activation_kernels.ACTIVATIONS[name].value, 1)
    arguments = (a.ctypes.data, z.ctypes.data, EXAMPLES, width, stride_of(width, np.dtype(dtype).itemsize))
    return Work(activation_kernels.forward(name, z.itemsize, width).address, arguments, each * EXAMPLES * width, (z, a))


def slope(width: int, dtype: str, name: str) -> Work:
    """dz = σ' da of EXAMPLES rows."""
    z, a, da, dz = (numbers(EXAMPLES * stride_of(width, np.dtype(dtype).itemsize), dtype, seed) for seed in range(4))
    each = operations(activation_kernels.ACTIVATIONS[name].derivative, 2) + 1
    arguments = (
        *(part.ctypes.data for part in (dz, z, a, da)),
        EXAMPLES,
        width,
        stride_of(width, np.dtype(dtype).itemsize),
    )
    kernel = activation_kernels.backward(name, z.itemsize)
    return Work(kernel.address, arguments, each * EXAMPLES * width, (z, a, da, dz))


def loss(width: int, dtype: str, name: str) -> Work:
    """Cost and delta of EXAMPLES rows: of classes for cross_entropy with softmax, else of numbers."""
    classes = name == "cross_entropy"
    size, stride = np.dtype(dtype).itemsize, stride_of(width, np.dtype(dtype).itemsize)
    arrays = [numbers(EXAMPLES * stride, dtype, seed) for seed in range(6)]  # d, costs, spare, x, y, weights
    each = 8 if not classes else operations(elementary.exp, 1) + 5
    if classes:
        arrays[4][:] = np.arange(EXAMPLES * stride) % width
    made, _ = loss_kernel(name, "softmax" if classes else "identity", width, classes, size)
    pointers = [array.ctypes.data for array in arrays]
    return Work(made.address, (*pointers, 1, EXAMPLES, width, stride, 1.0), each * EXAMPLES * width, arrays)


def update(width: int, dtype: str, rule: str) -> Work:
    """Of width x width parameters."""
    count, row = width * width, optimizers.RULES[rule]
    theta, gradient, moments = (numbers(n * count, dtype, n) for n in (1, 1, 2))
    moments[:], gradient[:] = 0, 0.01
    optimizer = OPTIMIZERS[rule if rule in OPTIMIZERS else "sgd"]()
    settings = ScheduledOptimizer(optimizer, Progress()).settings(9, 1)
    each = operations(lambda g, m, v, c: row.step(g, g, m, v, c * 8)[2], 3, 1) + 1
    pointers = (theta.ctypes.data, gradient.ctypes.data, moments.ctypes.data)
    arguments = (*pointers, count, 0, count, count, settings.ctypes.data)
    address = update_kernels.update(rule, theta.itemsize).address
    return Work(address, arguments, each * count, (theta, gradient, moments, settings))


KERNELS: dict[str, Callable[[int, str], Work]] = {
    "forward sum": functools.partial(dense, which="forward"),
    "delta sum": functools.partial(dense, which="deltas"),
    "weight gradient sum": functools.partial(dense, which="weights"),
    "transpose": transposed,
    "relu": functools.partial(activation, name="relu"),
    "relu backward": functools.partial(slope, name="relu"),
    "tanh": functools.partial(activation, name="tanh"),
    "tanh backward": functools.partial(slope, name="tanh"),
    "sigmoid": functools.partial(activation, name="sigmoid"),
    "softmax": functools.partial(activation, name="softmax"),
    "softmax and cross-entropy": functools.partial(loss, name="cross_entropy"),
    "squared error": functools.partial(loss, name="squared_error"),
    "adam": functools.partial(update, rule="adam"),
    "momentum": functools.partial(update, rule="momentum"),
    "sgd": functools.partial(update, rule="sgd"),
}
"""Name -> work(width, dtype)."""
