"""The format of a run of fit in a file: plain data and arrays, and the rule of each field."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.callbacks import EarlyStopping
from fastbp.history import COLUMNS
from fastbp.inputs.checks import (
    boolean,
    nonnegative_float,
    nonnegative_int,
    open_fraction,
    positive_float,
    positive_int,
    real,
)
from fastbp.storage import files
from fastbp.storage.model_state import count_of, python_number, to_json

Tensors = dict[str, NDArray[Any]]
ABSENT = {"dy": False, "derivative_weight": 1.0}
"""Arguments of fit that older files lack."""

Rule = Callable[[str, Any], Any]
"""(name, value) -> the checked value; ValueError or TypeError give the name."""


def as_text(arguments: dict[str, Any], fingerprint: str, state: dict[str, Any], tensors: Tensors) -> str:
    """The run as JSON; its arrays are added to `tensors`. ValueError or TypeError for what `from_text` would refuse."""
    run = {"arguments": arguments, "fingerprint": fingerprint, "state": state}
    text = to_json(without_arrays(run, "run", tensors))
    from_text(text, tensors)
    return text


def from_text(text: str, tensors: Tensors) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """(arguments, fingerprint, state), the inverse of `as_text`. KeyError, TypeError or ValueError for invalid text."""
    data = with_arrays(json.loads(text), tensors)
    if isinstance(data, dict) and isinstance(data.get("arguments"), dict):
        data["arguments"] = ABSENT | data["arguments"]
    run = RUN("run", data)
    arguments, state = run["arguments"], run["state"]
    if state["columns"].keys() != {*COLUMNS, *arguments["metrics"]}:
        raise ValueError(f"columns must be {', '.join(COLUMNS)} and the metrics, got {list(state['columns'])}")
    callbacks = arguments["callbacks"] + (arguments["early_stopping"] is not None)
    if len(state["callbacks"]) != callbacks:
        raise ValueError(f"there must be states of {callbacks} callbacks, got {len(state['callbacks'])}")
    return arguments, run["fingerprint"], state


# --- plain data and arrays --------------------------------------------------------------------------------------------


def without_arrays(value: Any, place: str, tensors: Tensors) -> Any:
    """The value as JSON can hold it; its arrays are added to `tensors`. TypeError names the place if it cannot."""
    if isinstance(value, np.ndarray):
        if value.dtype.name not in files.DTYPES.values():
            raise TypeError(f"{place} must be plain data or an array of real numbers, got one of {value.dtype}")
        name = f"run/{len(tensors)}"
        tensors[name] = value
        return {"array": name}
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{place} must have strings as its keys, got {wrong[0]!r}")
        items = {key: without_arrays(item, f"{place}[{key!r}]", tensors) for key, item in value.items()}
        return {"array": [items["array"]]} if items.keys() == {"array"} else items  # not an array's name
    if isinstance(value, (list, tuple)):
        return [without_arrays(item, f"{place}[{i}]", tensors) for i, item in enumerate(value)]
    return value if value is None or isinstance(value, str) else python_number(place, value)


def with_arrays(value: Any, tensors: Tensors) -> Any:
    """The inverse of `without_arrays`, with lists instead of tuples."""
    if isinstance(value, dict):
        if value.keys() == {"array"} and isinstance(value["array"], str):
            return tensors[value["array"]]
        if value.keys() == {"array"}:
            (item,) = value["array"]
            return {"array": with_arrays(item, tensors)}
        return {key: with_arrays(item, tensors) for key, item in value.items()}
    return [with_arrays(item, tensors) for item in value] if isinstance(value, list) else value


# --- rules of the fields --------------------------------------------------------------------------------------------


def instance_of(kind: type, noun: str) -> Rule:
    def rule(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {noun}, got {value!r}")
        return value

    return rule


string, a_list, a_dict = instance_of(str, "string"), instance_of(list, "list"), instance_of(dict, "dict")


def optional(rule: Rule) -> Rule:
    return lambda name, value: None if value is None else rule(name, value)


def list_of(rule: Rule, length: int | None = None) -> Rule:
    def checked(name: str, value: Any) -> list[Any]:
        if length not in (None, len(a_list(name, value))):
            raise ValueError(f"{name} must have {length} elements, got {value!r}")
        return [rule(f"{name}[{i}]", item) for i, item in enumerate(value)]

    return checked


def dict_of(rules: Mapping[str, Rule]) -> Rule:
    return lambda name, value: {key: rule(key, a_dict(name, value)[key]) for key, rule in rules.items()}


def column(name: str, value: Any) -> NDArray[np.float64]:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype != np.float64:
        raise TypeError(f"{name} must be a vector of float64, got {value!r}")
    return value


def columns(name: str, value: Any) -> dict[str, NDArray[np.float64]]:
    return {key: column(key, values) for key, values in a_dict(name, value).items()}


def class_weight(name: str, value: Any) -> Any:
    """A string, or pairs of class and weight."""
    if isinstance(value, str):
        return value
    return [
        [nonnegative_int(name, key), nonnegative_float(name, weight)]
        for key, weight in list_of(list_of(lambda _, item: item, 2))(name, value)
    ]


def early_stopping(name: str, value: Any) -> dict[str, Any]:
    """The arguments of an EarlyStopping."""
    return arguments_of(EarlyStopping(**a_dict(name, value)))


def arguments_of(stopping: EarlyStopping) -> dict[str, Any]:
    """The arguments that make an equal EarlyStopping."""
    names = ("patience", "min_delta", "restore_best", "monitor", "higher_is_better")
    return {name: getattr(stopping, name) for name in names}


PLAIN: dict[str, Rule] = {
    "epochs": positive_int,
    "batch_size": positive_int,
    "shuffle": boolean,
    "validation_fraction": optional(open_fraction),
    "initial_epoch": optional(nonnegative_int),
    "every": optional(positive_int),
    "derivative_weight": positive_float,
}
"""Arguments of fit that a file stores unchanged."""

GIVEN_AGAIN: dict[str, Rule] = {"validation_data": boolean, "sample_weight": boolean, "dy": boolean}
"""Arguments of fit of which a file stores whether they were given."""

ARGUMENTS = dict_of(
    {
        **PLAIN,
        **GIVEN_AGAIN,
        "class_weight": optional(class_weight),
        "metrics": list_of(string),
        "early_stopping": optional(early_stopping),
        "callbacks": nonnegative_int,
    }
)
STATE = dict_of(
    {
        "epochs_before": count_of,
        "updates_before": count_of,
        "steps_done": count_of,
        "stopped": boolean,
        "ended": boolean,
        "columns": columns,
        "sums": list_of(real, 2),
        "epoch_seconds": nonnegative_float,
        "seconds": nonnegative_float,
        "callbacks": list_of(a_dict),
    }
)
RUN = dict_of({"arguments": ARGUMENTS, "fingerprint": string, "state": STATE})
