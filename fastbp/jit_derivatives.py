"""How the derivatives of `fastbp.jit` are made from the table in core/derivatives/entries.py.

For each kind of arguments, Numba compiles one function, written here as text: the checks of sizes, then a call of the
entry point by its address in `net`. The text holds no addresses and no sizes, so that a user's function may be cached.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import types
from numba.extending import overload

from fastbp.core.derivatives.entries import (
    ENTRIES,
    Argument,
    derivative_workspace,
    derivatives_of,
    entry_of,
    index_of,
)
from fastbp.core.embedded import check_table, table_of
from fastbp.core.ir.kernel import call
from fastbp.core.ir.memory import address_of, data_of

IN_TEXT = {
    "address_of": address_of,
    "call": call,
    "check_table": check_table,
    "data_of": data_of,
    "derivative_workspace": derivative_workspace,
    "derivatives_of": derivatives_of,
    "entry_of": entry_of,
    "table_of": table_of,
}


def is_none(given: Any) -> bool:
    """Whether a type is that of None."""
    return given is None or isinstance(given, types.NoneType | types.Omitted)


def check_array(where: str, name: str, array: Any, theta: Any, dimensions: tuple[int, ...], written: bool) -> None:
    """ValueError unless the type is that of a C-contiguous array of theta's dtype, writable if it is written."""
    if not isinstance(array, types.Array) or array.layout != "C" or array.dtype != theta.dtype:
        raise ValueError(f"{where}: {name} must be a C-contiguous array of theta's {theta.dtype}, got {array}")
    if array.ndim not in dimensions:
        raise ValueError(f"{where}: {name} must have {' or '.join(map(str, dimensions))} dimensions, got {array}")
    if written and not array.mutable:
        raise ValueError(f"{where}: {name} must be writable, got {array}")


def check_net_and_theta(net: Any, theta: Any) -> None:
    """ValueError unless the types are those of a network table and of parameters."""
    if not isinstance(net, types.Array) or (net.dtype, net.ndim, net.layout) != (types.int64, 1, "C"):
        raise ValueError(f"fastbp.jit: net must be the int64 vector of model.compiled(), got {net}")
    if getattr(theta, "dtype", None) not in (types.float32, types.float64):
        raise ValueError(f"fastbp.jit: theta must be a float32 or float64 array, got {theta}")


def check_settings(settings: Any) -> None:
    """ValueError unless the type is that of a row of an optimizer's settings."""
    if settings != types.Array(types.float64, 1, "C") and settings != types.Array(types.float64, 1, "C", readonly=True):
        raise ValueError(f"fastbp.jit.apply_gradient: settings must be a C-contiguous row of float64, got {settings}")


def dimensions_of(argument: Argument) -> tuple[int, ...]:
    """That an array may have: without the rows it is one row."""
    full = len(argument.shape)
    if argument.shape[-1] == "targets":
        return 1, 2  # (n,) class indices or single targets, too
    return (full - 1, full) if argument.shape[0] == "rows" else (full,)


def wrong_size(argument: Argument) -> str:
    """The text of a condition: that the array has not the shape for `rows` rows."""
    name, shape = argument.name, argument.shape
    sizes = ["rows" if word == "rows" else f"table.{word}" for word in shape]
    conditions = [f"{name}.size != {' * '.join(sizes)}"]
    if shape[-1] == "targets":
        conditions.append(f"({name}.ndim == 2 and {name}.shape[0] != rows)")
        return " or ".join([*conditions, f"{name}.shape[-1] != table.targets != 1"])
    conditions += [f"{name}.shape[-{i}] != {sizes[-i]}" for i in range(1, len(shape) if len(shape) > 1 else 0)]
    return " or ".join(conditions)


def text_of(name: str, given: dict[str, bool]) -> str:
    """The source of the function for calls in which the arrays are given, or are None."""
    entry, where = ENTRIES[name], f"fastbp.jit.{name}"
    arguments = [argument for argument in entry.arguments if given[argument.name]]
    checks = [
        ("theta.size != table.parameters", "theta must have as many elements as the network has parameters"),
        (
            "rows < 1 or rows * table.inputs != X.size or X.shape[-1] != table.inputs",
            "X must have as many columns as the network has inputs, and at least 1 row",
        ),
        *((wrong_size(a), f"{a.name} must have the shape {a.wanted}") for a in arguments if a.name != "X"),
        (
            f"workspace.size < derivative_workspace(net, rows, {index_of(name)})",
            f"the workspace is too small; make it with model.workspace(rows, {name!r})",
        ),
    ]
    lines = [
        f"def {name}(net, theta, {', '.join(given)}, workspace):",
        "    check_table(net, theta)",
        f"    entry = entry_of(net, {index_of(name)})",
        "    if entry == 0:",
        f"        raise ValueError({where + f': net was made without it; call model.compiled({name!r})'!r})",
        "    table = table_of(net)",
        "    rows = X.size // table.inputs",
    ]
    for condition, message in checks:
        lines += [f"    if {condition}:", f"        raise ValueError({f'{where}: {message}'!r})"]
    addresses = [f"address_of(data_of({a}))" if given[a] else "0" for a in given]
    arrays = ", ".join(["derivatives_of(net)", "data_of(theta)", *addresses, "rows", "data_of(workspace)"])
    return "\n".join([*lines, f"    call(entry, {arrays})", ""])


def function_in(text: str, name: str, names: dict[str, Any]) -> FunctionType:
    """The function that the text defines."""
    scope = dict(names)
    exec(compile(text, f"<fastbp.jit.{name}>", "exec"), scope)
    function: FunctionType = scope[name]
    return function


def check_types(name: str, net: Any, theta: Any, arrays: dict[str, Any], workspace: Any) -> dict[str, bool]:
    """Which arrays are given; ValueError for a type that is wrong."""
    entry, where = ENTRIES[name], f"fastbp.jit.{name}"
    check_net_and_theta(net, theta)
    check_array(where, "theta", theta, theta, (1,), False)
    given = {}
    for argument in entry.arguments:
        array = arrays[argument.name]
        given[argument.name] = not (argument.optional and is_none(array))
        if given[argument.name]:
            check_array(where, argument.name, array, theta, dimensions_of(argument), argument.written)
    check_array(where, "workspace", workspace, theta, (1,), True)
    if entry.one_of and not any(given[name] for name in entry.one_of):
        raise ValueError(f"{where}: {' or '.join(entry.one_of)} must be given, all are None")
    return given


def derivative(name: str) -> Callable[..., None]:
    """The function of `fastbp.jit` by this name."""
    entry = ENTRIES[name]
    names = [argument.name for argument in entry.arguments]
    signature = f"net, theta, {', '.join(names)}, workspace"
    refusal = f"fastbp.jit.{name} is for numba.njit functions; in Python, call Model.{name}"
    stub = function_in(f"def {name}({signature}):\n    raise TypeError({refusal!r})\n", name, {})
    shapes = "; ".join(f"{a.name} {a.wanted}" + " or None" * a.optional for a in entry.arguments)
    stub.__doc__ = f"{entry.says}\n\n{shapes}. For compiled code; in Python, call `Model.{name}`."
    stub.__module__ = "fastbp.jit"

    def choose(net: Any, theta: Any, *rest: Any) -> FunctionType:
        *arrays, workspace = rest
        given = check_types(name, net, theta, dict(zip(names, arrays, strict=True)), workspace)
        return function_in(text_of(name, given), name, IN_TEXT)

    chooser = f"def {name}({signature}):\n    return choose({signature})\n"
    overload(stub)(function_in(chooser, name, {"choose": choose}))
    return stub
