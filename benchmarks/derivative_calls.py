"""The calls that `benchmarks.derivatives` times, in interleaved rounds, by CPU seconds.

They are of `fastbp.jit` in compiled loops on the caller's memory, of kernels by address, and of `Model`; each is a
function of how many times to call.
"""

import functools
import itertools
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numba
import numpy as np

import fastbp
import fastbp.jit
from benchmarks.kernels import repeat
from fastbp import jit_arguments
from fastbp.core.derivatives import taylor as taylor_kernels
from fastbp.core.workspace import FEW
from fastbp.engine.derivatives.common import memory_for
from fastbp.engine.derivatives.table import derivative_table
from fastbp.engine.network_table import Objective

Run = Callable[[int], Any]
AT_LEAST = 2e-3  # CPU seconds of one measurement


def network(sizes: tuple[int, ...], dtype: str = "float32", hidden: str = "tanh", **options: Any) -> fastbp.Model:
    """A network with identity outputs and squared errors."""
    return fastbp.Model(sizes, hidden=hidden, loss="squared_error", dtype=dtype, **options)


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    """An array of numbers around 0."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def has_compiled(what: str) -> bool:
    """Whether `fastbp.jit` has the function."""
    return what in jit_arguments.FORMS


@functools.cache
def loop_of(what: str) -> Any:
    """A compiled loop that calls the function of `fastbp.jit`."""
    function = getattr(fastbp.jit, what)

    @numba.njit
    def loop(times, arguments):
        for _ in range(times):
            function(*arguments)

    return loop


def compiled(model: fastbp.Model, what: str, rows: int, without: tuple[str, ...] = ()) -> Run:
    """Calls of `fastbp.jit.<what>` for so many rows, with None for the arrays `without`."""
    described, dtype = model.network, model.parameters.dtype
    counts = {"rows": rows, "inputs": described.n_inputs, "outputs": described.n_outputs,
              "targets": described.n_outputs, "parameters": model.parameters.size}  # fmt: skip
    arrays = [
        None if form.name in without else numbers(*(counts[word] for word in form.shape), dtype=dtype, seed=i)
        for i, form in enumerate(jit_arguments.FORMS[what])
    ]
    names = [] if what in jit_arguments.PLAIN else [what]
    arguments = (model.compiled(*names), model.parameters, *arrays, model.workspace(rows, *names))
    loop = loop_of(what)
    return lambda times: loop(times, arguments)


def taylor(model: fastbp.Model, rows: int) -> tuple[Run, list[Any]]:
    """Calls of the kernel of `Model.taylor` of order 2, by address as `fastbp.jit` has none; and X, V, y, y', y''."""
    size = model.parameters.itemsize
    net, kernel = derivative_table(model.network, size, second=True), taylor_kernels.taylor(size, 2)
    X, V = (numbers(rows, model.network.n_inputs, dtype=model.parameters.dtype, seed=i) for i in range(2))
    outputs = [np.empty((rows, model.network.n_outputs), X.dtype) for _ in range(3)]
    memory = memory_for(net, rows, 1, 2)
    at = [array.ctypes.data for array in (net, model.parameters, *outputs, X, V)]
    arguments, arrays = (*at, rows, 1, rows, memory[1]), [X, V, *outputs]

    def run(times: int, _: Any = (net, model, memory, arrays)) -> None:  # keeps them alive
        repeat(times, kernel.address, arguments)

    return run, arrays


def norms(model: fastbp.Model, rows: int) -> tuple[Run, list[Any]]:
    """Calls of the kernel of `Model.example_gradient_norms`, by address as `fastbp.jit` has none; and X, y, norms."""
    from fastbp.core.derivatives import example_gradients

    size, dtype = model.parameters.itemsize, model.parameters.dtype
    net = derivative_table(model.network, size, Objective("squared_error", classes=False, mean=True))
    X, y = numbers(rows, model.network.n_inputs, dtype=dtype), numbers(rows, model.network.n_outputs, dtype=dtype)
    out, memory = np.empty(rows, dtype), memory_for(net, rows, 1, 0)
    kernel, few = example_gradients.example_gradient_norms(size), int(rows <= FEW)
    at = [array.ctypes.data for array in (net, model.parameters, out, X, y)]
    arguments, arrays = (*at, rows, few, memory[1]), [X, y, out]

    def run(times: int, _: Any = (net, model, memory, arrays)) -> None:  # keeps them alive
        repeat(times, kernel.address, arguments)

    return run, arrays


def python(method: Callable[..., Any], *arguments: Any) -> Run:
    """Calls from Python."""

    def run(times: int) -> None:
        for _ in range(times):
            method(*arguments)

    return run


def cpu_seconds(run: Run, times: int) -> float:
    """Of one call, the average over `times`."""
    begin = time.process_time()
    run(times)
    return (time.process_time() - begin) / times


def calibrated(run: Run, at_least: float) -> int:
    """How many times to call so that it takes so many CPU seconds; the first call compiles."""
    run(1)
    times = 1
    while (spent := cpu_seconds(run, times) * times) < at_least:
        times = max(2 * times, min(100 * times, int(1.2 * times * at_least / max(spent, 1e-7))))
    return times


def seconds(runs: Mapping[str, Run], rounds: int, at_least: float = AT_LEAST) -> dict[str, list[float]]:
    """CPU seconds of one call of each, in interleaved rounds."""
    times = {name: calibrated(run, at_least) for name, run in runs.items()}
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            measured[name].append(cpu_seconds(run, times[name]))
    return measured


def ratio(measured: Mapping[str, list[float]], name: str, base: str) -> float:
    """How many times as long as the base: the median of the ratios within a round."""
    return median(a / b for a, b in zip(measured[name], measured[base], strict=True))


def deltas_of_inputs(sizes: tuple[int, ...]) -> float:
    """The operations for the deltas of the inputs, in gradients: forward, deltas without these, and dw."""
    products = sum(a * b for a, b in itertools.pairwise(sizes))
    first = sizes[0] * sizes[1]
    return 2 * first / (6 * products - 2 * first)
