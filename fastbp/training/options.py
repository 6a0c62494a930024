"""The arguments of fit, and those that a checkpoint stores."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from fastbp.callbacks import EarlyStopping
from fastbp.engine.state import InterruptedRun
from fastbp.inputs.checks import positive_int
from fastbp.metrics import NAMES
from fastbp.storage import run_state
from fastbp.storage.model_state import to_json


class Options(SimpleNamespace):
    """The arguments of `Model.fit` but X and y, by name and unchecked; `defaults` are those of its signature."""

    def __init__(self, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        super().__init__(**{**defaults, **given})
        self.defaults = defaults

    def replaced(self, found: Mapping[str, Any]) -> "Options":
        """Options with other values of some arguments."""
        return Options(self.defaults, {**vars(self), **found})


def kept_arguments(options: Options, names: tuple[str, ...]) -> dict[str, Any]:
    """Fit's arguments as a checkpoint stores them, plain data; names: of the metrics."""
    weights, stopping = options.class_weight, options.early_stopping
    arguments = {
        **{name: getattr(options, name) for name in run_state.PLAIN},
        **{name: getattr(options, name) is not None for name in run_state.GIVEN_AGAIN},
        "class_weight": sorted(map(list, weights.items())) if isinstance(weights, Mapping) else weights,
        "metrics": list(names),
        "early_stopping": None if stopping is None else run_state.arguments_of(stopping),
        "callbacks": len(options.callbacks),
    }
    kept: dict[str, Any] = json.loads(to_json(arguments))
    return kept


def resumed(options: Options, run: InterruptedRun) -> Options:
    """The options, completed from the interrupted run. ValueError where they contradict it."""
    kept, found = run.arguments, {}
    for name in run_state.PLAIN:
        given, default = getattr(options, name), options.defaults[name]
        if given not in (default, kept[name]):
            raise ValueError(f"{name} must be {kept[name]} as in the run that is resumed, or left out, got {given!r}")
        found[name] = kept[name]
    for name in run_state.GIVEN_AGAIN:
        if (getattr(options, name) is not None) != kept[name]:
            raise ValueError(f"{name} must be given {'again' if kept[name] else 'neither'}: the run is to be resumed")
    callbacks = len(options.callbacks)
    if callbacks != kept["callbacks"] and (callbacks or any(run.progress["callbacks"][: kept["callbacks"]])):
        raise ValueError(f"callbacks must be the {kept['callbacks']} of the run, again, got {callbacks}")
    weights = kept["class_weight"]
    found["class_weight"] = dict(weights) if isinstance(weights, list) else weights
    if options.class_weight not in (None, found["class_weight"]):
        raise ValueError(f"class_weight must be {found['class_weight']} as in the run, got {options.class_weight!r}")
    if not options.metrics:
        if missing := [name for name in kept["metrics"] if name not in NAMES]:
            raise ValueError(f"metrics must be given again: the run is to be resumed, and has {', '.join(missing)}")
        found["metrics"] = tuple(kept["metrics"])
    if options.early_stopping is None and kept["early_stopping"] is not None:
        found["early_stopping"] = EarlyStopping(**kept["early_stopping"])
    if options.checkpoint is None:
        found["checkpoint"] = run.path
    return options.replaced(found)


def check_same(run: InterruptedRun, arguments: dict[str, Any], fingerprint: str) -> None:
    """ValueError unless these are the arguments and the data of the interrupted run."""
    for name, value in arguments.items():
        if value != run.arguments[name] and name != "callbacks":  # those without a state may be left out
            raise ValueError(f"{name} must be as in the run that is resumed: {run.arguments[name]}, got {value}")
    if fingerprint != run.fingerprint:
        raise ValueError("X, y and weights must be those of the run that is resumed; these are others")


def every_of(options: Options) -> int:
    """Epochs between two checkpoints."""
    return 1 if options.every is None else positive_int("every", options.every)
