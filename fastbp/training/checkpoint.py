"""Checkpoints: a fit under way kept in a file, from which it goes on to the same bits after any interruption.

The file is a model's, as `Model.save` writes it, and holds the run besides: what it was asked to do, and where it is.
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
"""Of the inputs that make the fingerprint."""


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
        """How many more epochs than `epochs` the run makes before the next write."""
        return self.every - epochs % self.every

    def is_due(self, epochs: int) -> bool:
        """Whether the run is to be written after this number of epochs."""
        return epochs % self.every == 0

    def update(self, problem: Problem, state: TrainingState, progress: dict[str, Any]) -> None:
        """Write the run while it goes on: a disk that fails is a warning."""
        try:
            self.write(problem, state, progress)
        except OSError as error:
            if error.errno is None:  # no disk's: a signal handler's TimeoutError
                raise
            warnings.warn(f"a checkpoint could not be written, the last one stays: {error}", RuntimeWarning, 3)

    def write(self, problem: Problem, state: TrainingState, progress: dict[str, Any]) -> None:
        """Write the model, and the run of `progress`, its `Run.state_dict`."""
        description, tensors = for_file(problem, state)
        text = run_state.as_text(self._arguments, self._fingerprint, progress, tensors)
        files.write(self.path, tensors, {"model": description, "run": text})


def interrupted(path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, str]) -> InterruptedRun:
    """The run in a file that was read. ValueError if there is none."""
    if "run" not in metadata:
        raise ValueError(f"{os.fspath(path)} holds a model and no run of fit: Model.load reads it")
    try:
        return InterruptedRun(os.path.abspath(os.fsdecode(path)), *run_state.from_text(metadata["run"], tensors))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise files.not_a_model(path, error) from error


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
