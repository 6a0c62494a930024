"""A network as a C function, for other libraries: SciPy's integrals and filters, and all that take function pointers.

    scipy.integrate.quad(fastbp.callback.quad(model), 0, 1)

Each of these makes an object that keeps all the memory of its function, so hold on to it for as long as the other
library has its pointer. Calls need no GIL and may come from several threads at once. live=True: the function uses the
model's parameters, and so what `fit` changes them to, also while it runs; False: a copy of the present ones. Numbers
are float64 outside, also for a model of float32. What goes wrong in a call, such as a number that is NaN or infinite,
gives NaN and a status that says so.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import embedded, workspace
from fastbp.core.derivatives import c_functions
from fastbp.core.derivatives.c_functions import ROOMS, CFunction
from fastbp.core.derivatives.entries import FIRST, index_of
from fastbp.core.slots import Net
from fastbp.core.workspace import padded
from fastbp.engine.network_table import address, aligned_zeros, inference_table
from fastbp.inputs.checks import boolean, choice
from fastbp.jit_arguments import needed
from fastbp.model import Model

DOUBLE_POINTER = ctypes.POINTER(ctypes.c_double)
WHAT = ("predict", "input_jacobian", "vjp")
BLOCK = 16  # examples for which predict's workspace has room


class Function:
    """A plain C function: int (const double *x, double *y, void *user_data), which returns 0, or 1 with NaN in y.

    address: of the function; ctypes: the function for ctypes; user_data: a ctypes.c_void_p, the third argument of every
    call; n_given, n_results: numbers that x and y have.
    """

    def __init__(self, model: Model, what: str, live: bool, output: int = 0) -> None:
        network, size = model.network, model.dtype.itemsize
        self.theta = model.parameters if boolean("live", live) else model.parameters.copy()
        self.net, net_at, entry, work = table_of(model, what)
        n_in, n_out = network.n_inputs, network.n_outputs
        self.n_given = n_in + n_out * (what == "vjp")
        self.n_results = {"predict": n_out, "input_jacobian": n_out * n_in, "vjp": n_in}[what]
        results_at = int(padded(self.n_given))
        workspace_at = results_at + int(padded(self.n_results))
        room = int(padded(workspace_at + work + BLOCK))
        self.pool = aligned_zeros(ROOMS * room, model.dtype)
        self.data = aligned_zeros(CFunction.slots, np.int64)
        values = {
            CFunction.entry: entry,
            CFunction.net: net_at,
            CFunction.theta: address(self.theta),
            CFunction.inputs: n_in,
            CFunction.given: self.n_given,
            CFunction.results: self.n_results,
            CFunction.output: output,
            CFunction.pool: address(self.pool),
            CFunction.results_at: results_at,
            CFunction.workspace_at: workspace_at,
            CFunction.room_bytes: room * size,
        }
        self.data[list(values)] = list(values.values())
        self.user_data = ctypes.c_void_p(address(self.data))
        self.address = int(c_functions.function(size, what).address)
        self.ctypes = ctypes.CFUNCTYPE(ctypes.c_int, DOUBLE_POINTER, DOUBLE_POINTER, ctypes.c_void_p)(self.address)


def table_of(model: Model, what: str) -> tuple[NDArray[np.int64], int, int, int]:
    """The table of a network, the address in it that the entry point takes, that of the entry point, its workspace."""
    size = model.dtype.itemsize
    if what == "predict":
        net = inference_table(model.network, size).copy()
        net[Net.block] = BLOCK
        return net, address(net), int(embedded.predict(size).address), int(workspace.inference_size(net))
    net = model.compiled(what)
    derivatives = net[net[Net.derivatives] :]
    return net, address(derivatives), int(derivatives[FIRST + index_of(what)]), needed(net, 1, what)


def function(model: Model, what: str = "predict", *, live: bool = True) -> Function:
    """A plain C function int (const double *x, double *y, void *user_data) for one example.

    what: "predict": y = the outputs (n_outputs) for the inputs x (n_inputs); "input_jacobian": y = ∂y_j/∂x_k
    (n_outputs, n_inputs); "vjp": x = the inputs, then a cotangent c (n_outputs); y = Σ_j c_j ∂y_j/∂x_k (n_inputs).
    """
    return Function(model, choice("what", what, WHAT), live)


def quad(model: Model, output: int = 0, *, live: bool = True) -> Any:
    """A scipy.LowLevelCallable double (double, void *), for `scipy.integrate.quad`: an output of a network with one
    input.
    """
    if model.network.n_inputs != 1:
        raise ValueError(f"model must have 1 input for quad, got {model.network.n_inputs}")
    kernel = c_functions.of_number(model.dtype.itemsize)
    types = (ctypes.c_double, ctypes.c_double, ctypes.c_void_p)
    return low_level(model, output, live, kernel.address, types, "double (double, void *)")


def nquad(model: Model, output: int = 0, *, live: bool = True) -> Any:
    """A scipy.LowLevelCallable double (int, double *, void *), for `scipy.integrate.nquad` and others: an output.

    For another number of inputs than the network's it returns NaN.
    """
    kernel = c_functions.of_numbers(model.dtype.itemsize)
    types = (ctypes.c_double, ctypes.c_int, DOUBLE_POINTER, ctypes.c_void_p)
    return low_level(model, output, live, kernel.address, types, "double (int, double *, void *)")


def generic_filter(model: Model, *, live: bool = True) -> Any:
    """A scipy.LowLevelCallable int (double *, npy_intp, double *, void *), for `scipy.ndimage.generic_filter`.

    Each number of the result is the output of the network, which has one, for the numbers under the footprint, as many
    as the network has inputs; for another number of them, or NaN, generic_filter raises RuntimeError.
    """
    if model.network.n_outputs != 1:
        raise ValueError(f"model must have 1 output for generic_filter, got {model.network.n_outputs}")
    kernel = c_functions.of_neighbourhood(model.dtype.itemsize)
    types = (ctypes.c_int, DOUBLE_POINTER, ctypes.c_ssize_t, DOUBLE_POINTER, ctypes.c_void_p)
    return low_level(model, 0, live, kernel.address, types, "int (double *, npy_intp, double *, void *)")


def low_level(model: Model, output: int, live: bool, at: int, types: tuple[Any, ...], signature: str) -> Any:
    """A LowLevelCallable of the C function at an address; its attribute `function_data` keeps the memory."""
    try:
        from scipy import LowLevelCallable
    except ImportError as error:
        raise ImportError("fastbp.callback.quad, nquad and generic_filter need SciPy: pip install scipy") from error
    outputs = model.network.n_outputs
    if isinstance(output, bool) or not isinstance(output, int | np.integer) or not 0 <= output < outputs:
        raise ValueError(f"output must be an integer from 0 to {outputs - 1}, got {output!r}")
    data = Function(model, "predict", live, int(output))

    class Callable(LowLevelCallable):
        """A LowLevelCallable that keeps its memory."""

        function_data = data

    return Callable(ctypes.CFUNCTYPE(*types)(at), data.user_data, signature)
