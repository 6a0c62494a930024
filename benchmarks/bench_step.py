"""The training step: forward, backward and update of a mini-batch, over the table's shapes and how it grows.

To follow a network of your own, add a line to NETWORKS: it is measured like the others from then on.
"""

from dataclasses import replace
from typing import Any

import fastbp
from benchmarks import shapes
from fastbp.bench import cases

NETWORKS = [case for case in shapes.table("cross_entropy", "float32", "adam") if case.task == "fit"]
# NETWORKS.append(cases.Case("mine", (30, 50, 3), batch=64).with_steps())

STEP = cases.Case("", (64, 64, 64, 10), 128)
GROWTH = {  # one number of STEP varies
    "batch": [replace(STEP, batch=batch) for batch in (1, 8, 32, 128, 512, 2048)],
    "width": [replace(STEP, sizes=(64, width, width, 10)) for width in (8, 16, 32, 64, 100, 128, 256, 512)],
    "depth": [replace(STEP, sizes=(64, *[64] * depth, 10)) for depth in (1, 2, 4, 8)],
}
FEWEST_EPOCHS, SECONDS = 5, 0.3  # of a figure: whichever takes longer


class Fit:
    """A model with its data, compiled and warmed up."""

    def __init__(self, case: cases.Case, threads: int | None) -> None:
        self.case, self.threads = case, threads
        self.X, self.y = cases.data(case)
        self.model = fastbp.Model(
            case.sizes, case.hidden, case.output, case.loss, dtype=case.dtype, initial=cases.initial(case)
        )
        self.model.optimizer = {
            "adam": fastbp.Adam(),
            "sgd": fastbp.SGD(case.learning_rate),
            "momentum": fastbp.SGD(case.learning_rate, case.momentum),
        }[case.optimizer]
        self.epochs(1)

    def epochs(self, count: int) -> fastbp.History:
        return self.model.fit(self.X, self.y, count, self.case.batch, n_threads=self.threads)

    def microseconds(self) -> float:
        """Microseconds per step in the fastest epoch, each in a separate call: one call divides its time evenly."""
        seconds = [self.epochs(1).seconds[0] for _ in range(FEWEST_EPOCHS)]
        while sum(seconds) < SECONDS:
            seconds.append(self.epochs(1).seconds[0])
        return float(min(seconds)) / self.case.steps * 1e6


class Networks:
    """The table's networks, and yours. n_threads None is fit's own choice."""

    params: Any = ([f"{case.name} {case}" for case in NETWORKS], [None, 1, 2])
    param_names = ("network", "threads")
    timeout = 300

    def setup(self, name: str, threads: int | None) -> None:
        self.fit = Fit(self.case_of(name), threads)

    def case_of(self, name: str) -> cases.Case:
        return NETWORKS[self.params[0].index(name)]

    def time_epochs(self, name: str, threads: int | None) -> None:
        """A whole call of fit, with checks, threads and shuffling: an epoch of the table's steps (H: 50 epochs)."""
        self.fit.epochs(self.fit.case.epochs)

    def track_step(self, name: str, threads: int | None) -> float:
        """One step inside fit."""
        return self.fit.microseconds()

    def track_cost(self, name: str, threads: int | None) -> float:
        """The cost of the 5th epoch: what is learned does not change with speed."""
        return float(Fit(self.case_of(name), threads).epochs(4).cost[-1])

    track_step.unit = "microseconds"
    track_cost.unit = "cost"


class Single:
    """A call from Python for each mini-batch: fit's call and `Model.step`."""

    params: Any = ([case.name for case in NETWORKS],)
    param_names = ("network",)
    timeout = 300

    def setup(self, name: str) -> None:
        [case] = [case for case in NETWORKS if case.name == name]
        self.fit = Fit(case, None)
        self.X, self.y = self.fit.X[: case.batch], self.fit.y[: case.batch]

    def time_step(self, name: str) -> None:
        self.fit.model.step(self.X, self.y)

    def time_fit(self, name: str) -> None:
        self.fit.model.fit(self.X, self.y, 1, len(self.X))


class Conditions:
    """The table's networks under other conditions, with fit's own choice of threads."""

    params: Any = (
        [case.name for case in shapes.SHAPES],
        ["float32", "float64"],
        ["cross_entropy", "squared_error"],
        ["adam", "momentum"],
    )
    param_names = ("network", "dtype", "loss", "optimizer")
    timeout = 300

    def setup(self, name: str, dtype: str, loss: str, optimizer: str) -> None:
        [case] = [case for case in shapes.table(loss, dtype, optimizer) if case.name == name]
        self.fit = Fit(case, None)

    def track_step(self, name: str, dtype: str, loss: str, optimizer: str) -> float:
        """One step inside fit."""
        return self.fit.microseconds()

    track_step.unit = "microseconds"


class _Growth:  # asv passes over names that begin so
    """How a step of 64-64-64-10, batch 128, grows with its batch, its width and its depth."""

    def setup(self, number: int, threads: int) -> None:
        [case] = [case for value, case in self.cases if value == number]
        self.fit = Fit(case.with_steps(), threads)

    def track_step(self, number: int, threads: int) -> float:
        """One step inside fit."""
        return self.fit.microseconds()

    track_step.unit = "microseconds"


class Batch(_Growth):
    """Examples in a mini-batch."""

    cases = [(case.batch, case) for case in GROWTH["batch"]]
    params: Any = ([batch for batch, _ in cases], [1, 2])
    param_names = ("batch", "threads")


class Width(_Growth):
    """Neurons in each of the two hidden layers."""

    cases = [(case.sizes[1], case) for case in GROWTH["width"]]
    params: Any = ([width for width, _ in cases], [1, 2])
    param_names = ("width", "threads")


class Depth(_Growth):
    """Hidden layers."""

    cases = [(len(case.sizes) - 2, case) for case in GROWTH["depth"]]
    params: Any = ([depth for depth, _ in cases], [1, 2])
    param_names = ("depth", "threads")
