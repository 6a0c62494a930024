"""What is compared: a network and a task, with data and initial parameters that are the same for every library.

Imports NumPy only, so that other libraries' processes load nothing else of fastbp.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Layers = list[tuple[Array, Array]]

MOST_STEPS, MOST_FLOPS = 1000, 24e9  # of an epoch
MOST_BYTES = 16e6  # of its inputs
ROUND_STEPS, ROUND_FLOPS = 10_000, 72e9  # so that the fixed cost of a call and the wake-up of a core are negligible


@dataclass(frozen=True)
class Case:
    """One row: a network, and a task: fit, step (a call from Python for each mini-batch), gradient (descent in a
    compiled loop), bulk, row or compiled_row (predict).

    steps: mini-batches in an epoch; epochs: in one round. Of predictions, steps counts calls and batch their rows.
    goal: how many times faster than the best other library fastbp should be; None without a goal.
    """

    name: str
    sizes: tuple[int, ...]
    batch: int
    task: str = "fit"
    loss: str = "cross_entropy"
    dtype: str = "float32"
    optimizer: str = "adam"
    steps: int = 0
    epochs: int = 1
    goal: float | None = None

    @property
    def hidden(self) -> str:
        return "relu" if self.loss == "cross_entropy" else "tanh"

    @property
    def output(self) -> str:
        return "softmax" if self.loss == "cross_entropy" else "identity"

    @property
    def learning_rate(self) -> float:
        return 1e-3 if self.optimizer == "adam" else 1e-2

    @property
    def momentum(self) -> float:
        return 0.9 if self.optimizer == "momentum" else 0.0

    @property
    def rows(self) -> int:
        return self.batch * self.steps if self.task in ("fit", "step") else self.batch

    @property
    def flops(self) -> float:
        """Of a training step: forward, deltas (none for the inputs), weight gradients; of a prediction: forward."""
        products = sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))
        if self.task in PREDICTIONS:
            return self.batch * 2 * products
        return self.batch * (6 * products - 2 * self.sizes[0] * self.sizes[1])

    def with_steps(self) -> "Case":
        """With steps and epochs for one round: inputs of about the size of the caches, and enough work to measure."""
        a_batch = self.batch * self.sizes[0] * np.dtype(self.dtype).itemsize
        steps = max(1, int(min(MOST_STEPS, MOST_BYTES / a_batch, MOST_FLOPS / self.flops)))
        epochs = max(1, int(min(ROUND_STEPS, ROUND_FLOPS / self.flops) / steps))
        return replace(self, steps=steps, epochs=epochs)

    def __str__(self) -> str:
        what = f"{'-'.join(map(str, self.sizes))}, {self.batch}"
        return what if self.task == "fit" else f"{what}, {self.task.replace('_', ' ')}"


PREDICTIONS = {"bulk": (10_000, 20), "row": (1, 1000), "compiled_row": (1, 20_000)}  # rows of a call, calls


def own(sizes: tuple[int, ...], batch: int, loss: str, dtype: str, optimizer: str) -> Case:
    """A training step of the user's network."""
    return Case("", sizes, batch, "fit", loss, dtype, optimizer).with_steps()


def single_steps(case: Case) -> Case:
    """For a network: a call from Python for each mini-batch, which ends and returns its cost before the next."""
    case = replace(case, task="step", goal=None).with_steps()
    return replace(case, epochs=max(1, min(MOST_STEPS // case.steps, case.epochs)))


def begins_of_steps(case: Case) -> Iterator[int]:
    """The first row of each mini-batch of a round."""
    return (n for _ in range(case.epochs) for n in range(0, case.rows, case.batch))


def predictions(case: Case) -> list[Case]:
    """For a network: throughput of many rows, latency of one row from Python and from compiled code."""
    return [replace(case, task=task, batch=rows, steps=calls, epochs=1, goal=None)
            for task, (rows, calls) in PREDICTIONS.items()]  # fmt: skip


def data(case: Case) -> tuple[Array, Array]:
    """Inputs, and targets from a random linear map: int64 classes, or numbers between -1 and 1."""
    rng = np.random.default_rng(len(case.sizes))
    X = rng.uniform(-1, 1, (case.rows, case.sizes[0])).astype(case.dtype)
    scores = X @ rng.standard_normal((case.sizes[0], case.sizes[-1])).astype(case.dtype)
    if case.loss == "cross_entropy":
        return X, scores.argmax(axis=1)
    return X, np.tanh(scores / np.sqrt(case.sizes[0]))


def initial(case: Case) -> Layers:
    """(w (n_out, n_in), b (n_out,)) of each layer: uniform within ±√(6 / n_in), half of it for tanh; b = 0."""
    rng = np.random.default_rng(1)
    gain = 1.0 if case.hidden == "relu" else 0.5
    return [
        (rng.uniform(-1, 1, (n_out, n_in)).astype(case.dtype) * case_limit(gain, n_in, case.dtype),
         np.zeros(n_out, case.dtype))
        for n_in, n_out in pairwise(case.sizes)
    ]  # fmt: skip


def case_limit(gain: float, n_in: int, dtype: str) -> Any:
    return np.dtype(dtype).type(gain * np.sqrt(6 / n_in))


def cost(case: Case, outputs: Array, y: Array) -> float:
    """The cost of softmax's probabilities or of the outputs, by the same formula for all libraries."""
    if case.loss == "cross_entropy":
        return float(-np.log(np.maximum(outputs[np.arange(len(y)), y], 1e-30), dtype=np.float64).mean())
    return float(((outputs - y) ** 2).sum(axis=1).mean(dtype=np.float64))
