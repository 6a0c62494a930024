"""What users call from their own compiled code: the network's outputs, its cost and gradient, its derivatives, and
an optimizer's step.

All are called inside `numba.njit` functions (also with cache=True: they hold no address and no code of fastbp's
kernels, only how to find them in `net`), allocate nothing, and may run in several threads at once, each with a
separate workspace:

    net, theta, work = model.compiled("vjp"), model.parameters, model.workspace(rows, "vjp")

`net` is a plain int64 array, valid in the process that made it, and is the network without its parameters. `theta` is
the caller's: `model.parameters` is live (fit changes it in place), a copy of it is a snapshot. All arrays must be
C-contiguous and of one dtype. Anything else raises ValueError, which names the argument: a wrong dtype, layout or
number of dimensions when the calling function is compiled, which is at its first call with such arrays, a wrong length
or table when it runs; `check_arguments` says the same, and more, from Python.
"""

from typing import Any

from numba import types
from numba.extending import overload

from fastbp import jit_arguments
from fastbp.core import embedded
from fastbp.core.derivatives.entries import ENTRIES, derivative_workspace, derivatives_of, entry_of, index_of
from fastbp.core.embedded import check_table, table_of
from fastbp.core.ir.kernel import call, call_double, call_int
from fastbp.core.ir.memory import address_of, data_of
from fastbp.jit_derivatives import check_array, check_net_and_theta, check_settings, derivative


def predict(net: Any, theta: Any, X: Any, out: Any, workspace: Any) -> None:
    """Overwrites out (n, n_outputs) or (n_outputs,): the network's outputs for X (n, n_inputs) or (n_inputs,).

    For compiled code; in Python, call `Model.predict`.
    """
    raise TypeError("fastbp.jit.predict is for numba.njit functions; in Python, call Model.predict")


def value_and_gradient(net: Any, theta: Any, X: Any, y: Any, gradient: Any, workspace: Any) -> float:
    """Overwrites gradient (like theta) and returns the cost, for X (n, n_inputs) or (n_inputs,) and y.

    y: (n, n_outputs), or (n,) class indices or single outputs; of theta's dtype. For compiled code; in Python, call
    `Model.value_and_gradient`.
    """
    raise TypeError(
        "fastbp.jit.value_and_gradient is for numba.njit functions; in Python, call Model.value_and_gradient"
    )


DIMENSIONS = {"X": (1, 2), "y": (1, 2), "out": (1, 2)}
"""Of arrays that hold one row or several; of the others 1."""


def check_arrays(net: types.Type, theta: types.Type, written: dict[str, types.Type], **read: types.Type) -> None:
    """ValueError unless all are arrays, C-contiguous and of theta's dtype; it names the one that is not.

    Numba passes on errors of other types; a TypingError would come among all candidates for the call.
    """
    check_net_and_theta(net, theta)
    for name, array in {"theta": theta, **read, **written}.items():
        check_array("fastbp.jit", name, array, theta, DIMENSIONS.get(name, (1,)), name in written)


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
        if workspace.size < embedded.workspace_needed(net, 1):
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
        if workspace.size < embedded.workspace_needed(net, rows):
            raise ValueError("fastbp.jit.value_and_gradient: the workspace is too small; use model.workspace(rows)")
        return call_double(
            table.gradient, data_of(net), data_of(theta), data_of(gradient), data_of(X), data_of(y), rows,
            data_of(workspace),
        )  # fmt: skip

    return implementation


# --- derivatives ------------------------------------------------------------------------------------------------------

vjp = derivative("vjp")
jvp = derivative("jvp")
input_jacobian = derivative("input_jacobian")
input_hessian = derivative("input_hessian")
parameter_jacobian = derivative("parameter_jacobian")
example_gradients = derivative("example_gradients")
hessian_vector_product = derivative("hessian_vector_product")
gauss_newton_vector_product = derivative("gauss_newton_vector_product")


# --- workspaces and arguments -----------------------------------------------------------------------------------------


def workspace_needed(net: Any, rows: int, what: str) -> int:
    """Elements of workspace for a call of the function `what` with this number of rows, from Python or compiled code.

    what: a name of a function here, in compiled code a literal. `net` must have been made for it.
    """
    return jit_arguments.workspace_needed(net, rows, what)


@overload(workspace_needed, prefer_literal=True)
def overload_workspace_needed(net, rows, what):  # type: ignore[no-untyped-def]
    name = getattr(what, "literal_value", None)
    if name not in jit_arguments.FORMS:
        raise ValueError(f"fastbp.jit.workspace_needed: what must be one of {list(jit_arguments.FORMS)}, got {what}")
    if name not in ENTRIES:
        most = name == "value_and_gradient"

        def implementation(net, rows, what):  # type: ignore[no-untyped-def]
            return embedded.workspace_needed(net, rows if most else 1)

        return implementation
    at, message = index_of(name), f"fastbp.jit.{name}: net was made without it; call model.compiled({name!r})"

    def of_derivative(net, rows, what):  # type: ignore[no-untyped-def]
        if entry_of(net, at) == 0:
            raise ValueError(message)
        return derivative_workspace(net, rows, at)

    return of_derivative


def check_arguments(what: str, net: Any, theta: Any, *arguments: Any) -> None:
    """ValueError that says what is wrong with the call `fastbp.jit.<what>(net, theta, *arguments)`, for Python.

    Looks at dtypes, layouts, shapes, at whether outputs may be written, at None, and at the size of the workspace.
    """
    jit_arguments.check(what, net, theta, *arguments)


# --- an optimizer's step ----------------------------------------------------------------------------------------------


def apply_gradient(net: Any, theta: Any, gradient: Any, moments: Any, settings: Any) -> bool:
    """Changes theta and the moments by one step of the optimizer; bit-identical to `Model.apply_gradient`.

    moments, settings: of `Model.optimizer_state`; settings is one of its rows, float64. net must come from
    model.compiled("apply_gradient"), whose optimizer then is fixed. False if an element kept its value as it would have
    become NaN or infinite. For compiled code; in Python, call `Model.apply_gradient`.
    """
    raise TypeError("fastbp.jit.apply_gradient is for numba.njit functions; in Python, call Model.apply_gradient")


APPLY = index_of("apply_gradient")


@overload(apply_gradient)
def overload_apply_gradient(net, theta, gradient, moments, settings):  # type: ignore[no-untyped-def]
    check_arrays(net, theta, {"theta": theta, "moments": moments}, gradient=gradient)
    check_settings(settings)

    def implementation(net, theta, gradient, moments, settings):  # type: ignore[no-untyped-def]
        check_table(net, theta)
        entry = entry_of(net, APPLY)
        if entry == 0:
            raise ValueError(
                "fastbp.jit.apply_gradient: net was made without it; call model.compiled('apply_gradient')"
            )
        table, derivatives = table_of(net), derivatives_of(net)
        if theta.size != table.parameters or gradient.size != theta.size:
            raise ValueError("fastbp.jit.apply_gradient: theta and gradient must have n_parameters elements")
        if moments.size != derivatives.moments * theta.size:
            raise ValueError("fastbp.jit.apply_gradient: moments must be those of model.optimizer_state()")
        if settings.size != derivatives.settings:
            raise ValueError("fastbp.jit.apply_gradient: settings must be a row of those of model.optimizer_state()")
        bad = call_int(
            entry, derivatives, data_of(theta), data_of(gradient), data_of(moments), address_of(data_of(settings))
        )
        return bad == 0

    return implementation
