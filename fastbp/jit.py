"""What users call from their own compiled code: `fastbp.jit.predict` and `fastbp.jit.value_and_gradient`.

Both are called inside `numba.njit` functions (also with cache=True: they hold no address and no code of fastbp's
kernels, only how to find them in `net`), allocate nothing, and may run in several threads at once, each with a
workspace of its own:

    net, theta, work = model.compiled(), model.parameters, model.workspace(rows)

`net` is a plain int64 array, valid in the process that made it, and is the network without its parameters. `theta` is
the caller's: `model.parameters` is live (fit changes it in place), a copy of it is a snapshot. All arrays must be
C-contiguous and of one dtype; a wrong length, dtype or table raises ValueError.
"""

from typing import Any

from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from fastbp.core.compile import call, call_double
from fastbp.core.embed import check_table, data_of
from fastbp.core.table import NET_GRADIENT, NET_INPUTS, NET_OUTPUTS, NET_PARAMETERS, NET_PREDICT, NET_TARGETS
from fastbp.core.workspace import embedded_size


def predict(net: Any, theta: Any, X: Any, out: Any, workspace: Any) -> None:
    """Overwrites out (n, n_outputs) or (n_outputs,): the network's outputs for X (n, n_inputs) or (n_inputs,).

    For compiled code; in Python, call `Model.predict`.
    """
    raise TypeError("fastbp.jit.predict is for numba.njit functions; in Python, call Model.predict")


def value_and_gradient(net: Any, theta: Any, X: Any, y: Any, gradient: Any, workspace: Any) -> float:
    """Overwrites gradient (like theta) and returns the cost, for X (n, n_inputs) or (n_inputs,) and y.

    y: (n, n_outputs), or (n,) class numbers or single outputs; of theta's dtype. For compiled code; in Python, call
    `Model.value_and_gradient`.
    """
    raise TypeError(
        "fastbp.jit.value_and_gradient is for numba.njit functions; in Python, call Model.value_and_gradient"
    )


def check_arrays(theta: types.Type, **arrays: types.Type) -> None:
    """All of them arrays, C-contiguous and of theta's dtype, or a TypingError that names the one that is not."""
    for name, array in {"theta": theta, **arrays}.items():
        if not isinstance(array, types.Array) or array.layout != "C" or array.dtype != theta.dtype:
            wanted = f"a C-contiguous array of theta's dtype ({getattr(theta, 'dtype', theta)})"
            raise TypingError(f"fastbp.jit: {name} must be {wanted}, got {array}")
    if theta.dtype not in (types.float32, types.float64):
        raise TypingError(f"fastbp.jit: theta must be float32 or float64, got {theta.dtype}")


@overload(predict)
def overload_predict(net, theta, X, out, workspace):  # type: ignore[no-untyped-def]
    check_arrays(theta, X=X, out=out, workspace=workspace)

    def implementation(net, theta, X, out, workspace):  # type: ignore[no-untyped-def]
        check_table(net, theta)
        rows = X.size // net[NET_INPUTS]
        if theta.size != net[NET_PARAMETERS]:
            raise ValueError("fastbp.jit.predict: theta must have as many elements as the network has parameters")
        if rows * net[NET_INPUTS] != X.size or X.shape[-1] != net[NET_INPUTS]:
            raise ValueError("fastbp.jit.predict: X must have as many columns as the network has inputs")
        if out.size != rows * net[NET_OUTPUTS]:
            raise ValueError("fastbp.jit.predict: out must have a row of n_outputs elements for each row of X")
        if workspace.size < embedded_size(net, 1):
            raise ValueError("fastbp.jit.predict: the workspace is too small; make it with model.workspace(rows)")
        call(net[NET_PREDICT], data_of(net), data_of(theta), data_of(out), data_of(X), rows, data_of(workspace))

    return implementation


@overload(value_and_gradient)
def overload_value_and_gradient(net, theta, X, y, gradient, workspace):  # type: ignore[no-untyped-def]
    check_arrays(theta, X=X, y=y, gradient=gradient, workspace=workspace)

    def implementation(net, theta, X, y, gradient, workspace):  # type: ignore[no-untyped-def]
        check_table(net, theta)
        rows = X.size // net[NET_INPUTS]
        if theta.size != net[NET_PARAMETERS] or gradient.size != theta.size:
            raise ValueError("fastbp.jit.value_and_gradient: theta and gradient must have n_parameters elements")
        if rows < 1 or rows * net[NET_INPUTS] != X.size or X.shape[-1] != net[NET_INPUTS]:
            raise ValueError("fastbp.jit.value_and_gradient: X must have as many columns as the network has inputs")
        if y.size != rows * net[NET_TARGETS]:
            raise ValueError("fastbp.jit.value_and_gradient: y must have one target for each row of X")
        if workspace.size < embedded_size(net, rows):
            raise ValueError("fastbp.jit.value_and_gradient: the workspace is too small; use model.workspace(rows)")
        return call_double(
            net[NET_GRADIENT], data_of(net), data_of(theta), data_of(gradient), data_of(X), data_of(y), rows,
            data_of(workspace),
        )  # fmt: skip

    return implementation
