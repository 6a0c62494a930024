"""What is wrong with a call of `fastbp.jit`, found from Python: one sentence, with nothing compiled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import workspace as memory
from fastbp.core.derivatives.entries import ENTRIES, FIRST, Argument, X, index_of
from fastbp.core.derivatives.frame import frame_size
from fastbp.core.ir.process_stamp import process_stamp
from fastbp.core.slots import VERSION, Derivatives, Net
from fastbp.inputs.checks import positive_int

PLAIN = {
    "predict": (X, Argument("out", ("rows", "outputs"), written=True)),
    "value_and_gradient": (
        X,
        Argument("y", ("rows", "targets")),
        Argument("gradient", ("parameters",), written=True),
    ),
}
FORMS = PLAIN | {name: entry.arguments for name, entry in ENTRIES.items()}


def has_entry(net: NDArray[np.int64], what: str) -> bool:
    """Whether the table was made for this function."""
    return what in PLAIN or bool(net[Net.derivatives] and net[net[Net.derivatives] + FIRST + index_of(what)])


def needed(net: NDArray[np.int64], rows: int, what: str) -> int:
    """Elements of workspace for a call of this function with this number of rows."""
    if what in PLAIN:
        return int(memory.embedded_size(net, rows if what == "value_and_gradient" else 1))
    header, at = net[net[Net.derivatives] :], index_of(what)
    directions, orders = (int(header[field + at]) for field in (Derivatives.directions, Derivatives.orders))
    return int(frame_size(header[Derivatives.slots :], rows, directions, orders))


def workspace_needed(net: Any, rows: int, what: str) -> int:
    """See `fastbp.jit.workspace_needed`."""
    if what not in FORMS:
        raise ValueError(f"what must be among {', '.join(map(repr, FORMS))}, got {what!r}")
    check_net(f"fastbp.jit.{what}", net, what)
    return needed(net, positive_int("rows", rows), what)


def check(what: str, net: Any, theta: Any, *rest: Any) -> None:
    """ValueError that names the argument which is wrong; see `fastbp.jit.check_arguments`."""
    where = f"fastbp.jit.{what}"
    if what not in FORMS:
        raise ValueError(f"what must be among {', '.join(map(repr, FORMS))}, got {what!r}")
    arguments = FORMS[what]
    if len(rest) != len(arguments) + 1:
        names = ["net", "theta", *(argument.name for argument in arguments), "workspace"]
        raise ValueError(f"{where} takes {len(names)} arguments, {', '.join(names)}, got {len(rest) + 2}")
    check_net(where, net, what)
    numbers = {"inputs": Net.inputs, "outputs": Net.outputs, "targets": Net.targets, "parameters": Net.parameters}
    counts = {word: int(net[slot]) for word, slot in numbers.items()}
    dtype = np.dtype(f"f{net[Net.size]}")
    check_array(where, Argument("theta", ("parameters",)), theta, dtype, counts)
    check_array(where, X, rest[0], dtype, counts)
    rows = counts["rows"] = len(rest[0]) if rest[0].ndim == 2 else 1
    if rows < 1 and what != "predict":
        raise ValueError(f"{where}: X must have at least 1 row, got shape {rest[0].shape}")
    for argument, array in zip(arguments, rest[:-1], strict=True):
        if not (argument.optional and array is None):
            check_array(where, argument, array, dtype, counts)
    one_of = ENTRIES[what].one_of if what in ENTRIES else ()
    if one_of and all(array is None for a, array in zip(arguments, rest[:-1], strict=True) if a.name in one_of):
        raise ValueError(f"{where}: {' or '.join(one_of)} must be given, all are None")
    least = needed(net, rows, what)
    check_array(where, Argument("workspace", ("any",), written=True), rest[-1], dtype, counts)
    if rest[-1].size < least:
        raise ValueError(f"{where}: workspace must have {least} or more elements for {rows} rows, got {rest[-1].size}")


def check_net(where: str, net: Any, what: str) -> None:
    """ValueError unless net is a table of this process, made for this function."""
    if not isinstance(net, np.ndarray) or net.dtype != np.int64 or net.ndim != 1 or not net.flags.c_contiguous:
        raise ValueError(f"{where}: net must be the int64 vector of model.compiled(), got {described(net)}")
    if len(net) <= Net.derivatives or net[Net.version] != VERSION or net[Net.length] != len(net):
        raise ValueError(f"{where}: net must come from model.compiled() of this fastbp")
    if net[Net.process] != process_stamp():
        raise ValueError(f"{where}: net comes from another process: call model.compiled() in this process")
    if not has_entry(net, what):
        raise ValueError(f"{where}: net was made without it; call model.compiled({what!r})")


def check_array(where: str, argument: Argument, array: Any, dtype: np.dtype[Any], counts: dict[str, int]) -> None:
    """ValueError unless it is an array as this argument must be."""
    name, shape = argument.name, argument.shape
    if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(f"{where}: {name} must be a C-contiguous {dtype} array, got {described(array)}")
    if argument.written and not array.flags.writeable:
        raise ValueError(f"{where}: {name} must be writable, got a read-only array")
    if shape == ("any",):
        allowed = array.ndim == 1
    else:
        full = tuple(counts.get(word, array.shape[0] if array.ndim else 0) for word in shape)
        allowed = array.shape == full
        if shape[0] == "rows" and counts.get("rows", 1) == 1:
            allowed = allowed or array.shape == full[1:]
        if shape[-1] == "targets" and counts["targets"] == 1:
            allowed = allowed or array.shape == full[:1]
    if not allowed:
        wanted = "(n,)" if shape == ("any",) else argument.wanted
        sizes = ", ".join(f"n_{word} = {counts[word]}" for word in shape if word in counts and word != "rows")
        n = f"n = {counts['rows']}" if "rows" in shape and "rows" in counts else ""
        found = ", ".join(part for part in (n, sizes) if part)
        raise ValueError(f"{where}: {name} must have the shape {wanted}; {found}, got {array.shape}")


def described(value: Any) -> str:
    """A value in an error message."""
    if not isinstance(value, np.ndarray):
        return repr(value) if value is None or np.isscalar(value) else f"a {type(value).__name__}"
    layout = "" if value.flags.c_contiguous else ", not C-contiguous"
    return f"an array of {value.dtype}, shape {value.shape}{layout}"
