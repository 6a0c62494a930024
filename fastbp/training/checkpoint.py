"""Checkpoints: a fit under way kept in a file, from which it goes on to the same bits after any interruption.

The file is a model's, as `Model.save` writes it, and holds the run besides: what it was asked to do, and where it is.
"""

import dataclasses
import json
import math
import os
import warnings
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.callbacks import EarlyStopping
from fastbp.engine.job import Examples
from fastbp.inputs.checks import positive_int
from fastbp.metrics import NAMES
from fastbp.storage import files, run_state
from fastbp.storage.model_state import for_file, to_json

if TYPE_CHECKING:
    from fastbp.training.prepare import Options
    from fastbp.training.run import Run

Tensors = dict[str, NDArray[Any]]

SAMPLE_BYTES = 1 << 24
"""Of the inputs that make the fingerprint."""


class Interrupted(NamedTuple):
    """A run as its file has it: the path, the arguments of fit, the fingerprint of the data, `Run.state_dict`."""

    path: str
    arguments: dict[str, Any]
    fingerprint: str
    state: dict[str, Any]


class Checkpoint:
    """Writes a run to its file: before it begins, after every `every` epochs, and at its end.

    A write that fails leaves the file before it. It is a RuntimeWarning, and at the beginning and the end an OSError.
    ValueError or TypeError for what cannot be kept: infinite parameters, a callback's state that is no plain data.
    """

    def __init__(self, path: str | os.PathLike[str], every: int, arguments: dict[str, Any], fingerprint: str) -> None:
        given = files.as_path("checkpoint", path)
        files.check_target(given)
        self.path = os.path.abspath(given)  # the same if a callback changes the folder
        self.every = every
        self._arguments, self._fingerprint = arguments, fingerprint

    def epochs_left(self, epochs: int) -> int:
        """Until the next one, after so many epochs of the run."""
        return self.every - epochs % self.every

    def after_epochs(self, run: "Run") -> None:
        if run.epochs_done % self.every:
            return
        try:
            self.write(run)
        except OSError as error:
            if error.errno is None:  # no disk's: a signal handler's TimeoutError
                raise
            warnings.warn(f"a checkpoint could not be written, the last one stays: {error}", RuntimeWarning, 3)

    def write(self, run: "Run") -> None:
        description, tensors = for_file(run.plan.model)
        text = run_state.as_text(self._arguments, self._fingerprint, run.state_dict(), tensors)
        files.write(self.path, tensors, {"model": description, "run": text})


def interrupted(path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, str]) -> Interrupted:
    """The run in a file that was read. ValueError if there is none."""
    if "run" not in metadata:
        raise ValueError(f"{os.fspath(path)} holds a model and no run of fit: Model.load reads it")
    try:
        return Interrupted(os.path.abspath(os.fsdecode(path)), *run_state.from_text(metadata["run"], tensors))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise files.not_a_model(path, error) from error


# --- the arguments of fit ---------------------------------------------------------------------------------------------

PLAIN = ("epochs", "batch_size", "shuffle", "validation_fraction", "initial_epoch", "every")
GIVEN_AGAIN = ("validation_data", "sample_weight")


def kept_arguments(options: "Options", names: tuple[str, ...]) -> dict[str, Any]:
    """What a file keeps of fit's arguments, as plain data; names: of the metrics."""
    weights, stopping = options.class_weight, options.early_stopping
    arguments = {
        **{name: getattr(options, name) for name in PLAIN},
        **{name: getattr(options, name) is not None for name in GIVEN_AGAIN},
        "class_weight": sorted(map(list, weights.items())) if isinstance(weights, Mapping) else weights,
        "metrics": list(names),
        "early_stopping": None if stopping is None else run_state.arguments_of(stopping),
        "callbacks": len(options.callbacks),
    }
    kept: dict[str, Any] = json.loads(to_json(arguments))
    return kept


def resumed(options: "Options", run: Interrupted) -> "Options":
    """The options with what is left out taken from the interrupted run. ValueError where they contradict it."""
    kept, found = run.arguments, {}
    for name in PLAIN:
        given, default = getattr(options, name), default_of(options, name)
        if given not in (default, kept[name]):
            raise ValueError(f"{name} must be {kept[name]} as in the run that is resumed, or left out, got {given!r}")
        found[name] = kept[name]
    for name in GIVEN_AGAIN:
        if (getattr(options, name) is not None) != kept[name]:
            raise ValueError(f"{name} must be given {'again' if kept[name] else 'neither'}: the run is to be resumed")
    callbacks = len(options.callbacks)
    if callbacks != kept["callbacks"] and (callbacks or any(run.state["callbacks"][: kept["callbacks"]])):
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
    return dataclasses.replace(options, **found)


def default_of(options: "Options", name: str) -> Any:
    """What an argument of `Model.fit` is when it is left out."""
    return next(field.default for field in dataclasses.fields(options) if field.name == name)


def check_same(run: Interrupted, arguments: dict[str, Any], fingerprint: str) -> None:
    """ValueError unless these are the arguments and the data of the interrupted run."""
    for name, value in arguments.items():
        if value != run.arguments[name] and name != "callbacks":  # they may be left out if they remember nothing
            raise ValueError(f"{name} must be as in the run that is resumed: {run.arguments[name]}, got {value}")
    if fingerprint != run.fingerprint:
        raise ValueError("X, y and weights must be those of the run that is resumed; these are others")


def every_of(options: "Options") -> int:
    return 1 if options.every is None else positive_int("every", options.every)


def fingerprint_of(*parts: Examples | None) -> str:
    """A checksum of the examples to train and to validate on; of large inputs, of some rows."""
    crc = 0
    for examples in parts:
        if examples is None:
            continue
        crc = zlib.crc32(f"{len(examples)} {examples.y.shape} {examples.weights is None}".encode(), crc)
        for array in (examples.y, examples.weights):
            if array is not None:
                crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
        X, dtype = examples.X, examples.y.dtype
        rows = np.arange(0, len(X), 1 + math.prod(X.shape) * dtype.itemsize // SAMPLE_BYTES)
        crc = zlib.crc32(X[rows].data if isinstance(X, np.ndarray) else X.dense(rows, dtype).data, crc)
    return f"{crc:08x}"
