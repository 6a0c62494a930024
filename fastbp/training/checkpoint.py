"""Checkpoints: the state of a fit in a file, from which it continues bit-identically after any interruption.

The file is a model's, as `Model.save` writes it, with the run in addition: fit's arguments, and its progress.
"""

import math
import os
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.job import Examples
from fastbp.engine.problem import Problem
from fastbp.engine.state import InterruptedRun, TrainingState
from fastbp.storage import files, run_state
from fastbp.storage.model_state import for_file

Tensors = dict[str, NDArray[Any]]

SAMPLE_BYTES = 1 << 24
"""Of the inputs that the fingerprint covers."""


class Checkpoint:
    """Writes a run to its file: before it begins, after every `every` epochs, and at its end.

    A write that fails leaves the older file. It is a RuntimeWarning, and at the beginning and the end an OSError.
    ValueError or TypeError for what cannot be stored: infinite parameters, a callback's state that is not plain data.
    """

    def __init__(self, path: str | os.PathLike[str], every: int, arguments: dict[str, Any], fingerprint: str) -> None:
        given = files.as_path("checkpoint", path)
        files.check_target(given)
        self.path = os.path.abspath(given)  # a callback may change the folder
        self.every = every
        self._arguments, self._fingerprint = arguments, fingerprint

    def epochs_left(self, epochs: int) -> int:
        """How many more epochs than `epochs` the run makes before the next write."""
        return self.every - epochs % self.every

    def is_due(self, epochs: int) -> bool:
        """Whether the run is to be written after this number of epochs."""
        return epochs % self.every == 0

    def update(self, problem: Problem, state: TrainingState, progress: dict[str, Any]) -> None:
        """Write the run during training: a disk that fails is a warning."""
        try:
            self.write(problem, state, progress)
        except OSError as error:
            if error.errno is None:  # not from the disk: a signal handler's TimeoutError
                raise
            warnings.warn(f"a checkpoint could not be written, the last one stays: {error}", RuntimeWarning, 3)

    def write(self, problem: Problem, state: TrainingState, progress: dict[str, Any]) -> None:
        """Write the model, and the run of `progress`, its `Run.state_dict`."""
        description, tensors = for_file(problem, state)
        text = run_state.as_text(self._arguments, self._fingerprint, progress, tensors)
        files.write(self.path, tensors, {"model": description, "run": text})


def interrupted(path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, str]) -> InterruptedRun:
    """The run in the contents of a file. ValueError if there is none."""
    if "run" not in metadata:
        raise ValueError(f"{os.fspath(path)} holds a model and no run of fit: Model.load reads it")
    try:
        return InterruptedRun(os.path.abspath(os.fsdecode(path)), *run_state.from_text(metadata["run"], tensors))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise files.not_a_model(path, error) from error


def fingerprint_of(*parts: Examples | None) -> str:
    """A checksum of the examples to train and to validate on; large inputs count by a sample of their rows."""
    crc = 0
    for examples in parts:
        if examples is None:
            continue
        crc = zlib.crc32(f"{len(examples)} {examples.y.shape} {examples.weights is None}".encode(), crc)
        for array in (examples.y, examples.weights, examples.dy):
            if array is not None:
                crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
        X, dtype = examples.X, examples.y.dtype
        rows = np.arange(0, len(X), 1 + math.prod(X.shape) * dtype.itemsize // SAMPLE_BYTES)
        crc = zlib.crc32(X[rows].data if isinstance(X, np.ndarray) else X.dense(rows, dtype).data, crc)
    return f"{crc:08x}"
