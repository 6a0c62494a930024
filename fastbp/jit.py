"""What users call from their own compiled code: `fastbp.jit.predict` and `fastbp.jit.value_and_gradient`.

Both are called inside `numba.njit` functions (also with cache=True: they hold no address and no code of fastbp's
kernels, only how to find them in `net`), allocate nothing, and may run in several threads at once, each with a
workspace of its own:

    net, theta, work = model.compiled(), model.parameters, model.workspace(rows)

`net` is a plain int64 array, valid in the process that made it, and is the network without its parameters. `theta` is
the caller's: `model.parameters` is live (fit changes it in place), a copy of it is a snapshot. All arrays must be
C-contiguous and of one dtype. Anything else raises ValueError, which names the argument: a wrong dtype, layout or
number of dimensions when the calling function is compiled, which is at its first call with such arrays, a wrong length
or table when it runs.
"""

from typing import Any

from numba import types
from numba.extending import overload

from fastbp.core.embedded import check_table, table_of, workspace_needed
from fastbp.core.ir.kernel import call, call_double
from fastbp.core.ir.memory import data_of


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


DIMENSIONS = {"X": (1, 2), "y": (1, 2), "out": (1, 2)}
"""Of arrays that hold one row or several; of the others 1."""


def check_arrays(net: types.Type, theta: types.Type, written: dict[str, types.Type], **read: types.Type) -> None:
    """ValueError unless all are arrays, C-contiguous and of theta's dtype; it names the one that is not.

    Numba hands on an error that is none of its own; a TypingError would come among all candidates for the call.
    """
    if not isinstance(net, types.Array) or (net.dtype, net.ndim, net.layout) != (types.int64, 1, "C"):
        raise ValueError(f"fastbp.jit: net must be the int64 vector of model.compiled(), got {net}")
    if getattr(theta, "dtype", None) not in (types.float32, types.float64):
        raise ValueError(f"fastbp.jit: theta must be a float32 or float64 array, got {theta}")
    for name, array in {"theta": theta, **read, **written}.items():
        if not isinstance(array, types.Array) or array.layout != "C" or array.dtype != theta.dtype:
            raise ValueError(f"fastbp.jit: {name} must be a C-contiguous array of theta's {theta.dtype}, got {array}")
        dimensions = DIMENSIONS.get(name, (1,))
        if array.ndim not in dimensions:
            raise ValueError(
                f"fastbp.jit: {name} must have {' or '.join(map(str, dimensions))} dimensions, got {array}"
            )
        if name in written and not array.mutable:
            raise ValueError(f"fastbp.jit: {name} must be writable, got {array}")


@overload(predict)
def overload_predict(net, theta, X, out, workspace):  # type: ignore[no-untyped-def]
    check_arrays(net, theta, {"out": out, "workspace": workspace}, X=X)

    def implementation(net, theta, X, out, workspace):  # type: ignore[no-untyped-def]
        check_table(net, theta)
        table = table_of(net)
        rows = X.size // table.inputs
        if theta.size != table.parameters:
            raise ValueError("fastbp.jit.predict: theta must have as many elements as the network has parameters")
        if rows * table.inputs != X.size or X.shape[-1] != table.inputs:
            raise ValueError("fastbp.jit.predict: X must have as many columns as the network has inputs")
        if out.size != rows * table.outputs or out.shape[-1] != table.outputs:
            raise ValueError("fastbp.jit.predict: out must have a row of n_outputs elements for each row of X")
        if workspace.size < workspace_needed(net, 1):
            raise ValueError("fastbp.jit.predict: the workspace is too small; make it with model.workspace(rows)")
        call(table.predict, data_of(net), data_of(theta), data_of(out), data_of(X), rows, data_of(workspace))

    return implementation


@overload(value_and_gradient)
def overload_value_and_gradient(net, theta, X, y, gradient, workspace):  # type: ignore[no-untyped-def]
    check_arrays(net, theta, {"gradient": gradient, "workspace": workspace}, X=X, y=y)

    def implementation(net, theta, X, y, gradient, workspace):  # type: ignore[no-untyped-def]
        check_table(net, theta)
        table = table_of(net)
        rows = X.size // table.inputs
        if theta.size != table.parameters or gradient.size != theta.size:
            raise ValueError("fastbp.jit.value_and_gradient: theta and gradient must have n_parameters elements")
        if rows < 1:
            raise ValueError("fastbp.jit.value_and_gradient: X must have at least 1 row")
        if rows * table.inputs != X.size or X.shape[-1] != table.inputs:
            raise ValueError("fastbp.jit.value_and_gradient: X must have as many columns as the network has inputs")
        if y.size != rows * table.targets or y.shape[-1] != table.targets != 1 or (y.ndim == 2 and len(y) != rows):
            raise ValueError("fastbp.jit.value_and_gradient: y must have a row of targets for each row of X")
        if workspace.size < workspace_needed(net, rows):
            raise ValueError("fastbp.jit.value_and_gradient: the workspace is too small; use model.workspace(rows)")
        return call_double(
            table.gradient, data_of(net), data_of(theta), data_of(gradient), data_of(X), data_of(y), rows,
            data_of(workspace),
        )  # fmt: skip

    return implementation
