"""Learning rate schedules: frozen specs that give the learning rate η(t) of each step t = 0, 1, 2, … of training.

A schedule takes the place of an optimizer's learning rate: `Adam(learning_rate=Cosine(0.01, steps=1000))`. Its
steps are counted over all calls of fit and step until the optimizer gets another learning rate.

Every schedule has warm_up, in steps: η(t) is multiplied by min(1, (t + 1) / warm_up) (Goyal et al., 2017).
"""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastbp.inputs.checks import choice, nonnegative_float, nonnegative_int, number_in, positive_float, positive_int
from fastbp.inputs.synonyms import equivalent

Floats = NDArray[np.float64]
MOST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Progress:
    """The state of a schedule in addition to the number of updates: plain numbers.

    begun: updates made before its first step. For OnPlateau, best: the lowest cost so far; waited: epochs since
    then; reductions: the number of reductions of the rate.
    """

    begun: int = 0
    best: float | None = None
    waited: int = 0
    reductions: int = 0

    def __post_init__(self) -> None:
        for name in ("begun", "waited", "reductions"):
            nonnegative_int(name, getattr(self, name))
        if self.best is not None:
            number_in("best", self.best, -MOST, MOST)


START = Progress()


@dataclass(frozen=True)
class Schedule:
    """rate: η > 0, the rate at which the schedule starts or to which it rises; warm_up: see the module."""

    name: ClassVar[str]
    each_epoch: ClassVar[bool] = False
    """Whether it depends on the cost of every epoch."""

    rate: float
    warm_up: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        positive_float("rate", self.rate)
        nonnegative_int("warm_up", self.warm_up)

    def rates(self, steps: NDArray[np.int64], progress: Progress = START) -> Floats:
        """η(t) for each t of steps, an integer array."""
        rise = np.minimum(1.0, (steps + 1) / max(1, self.warm_up))
        return np.asarray(rise * self._rates(steps.astype(np.float64), progress), np.float64)

    def _rates(self, t: Floats, progress: Progress) -> Floats:
        """η(t) without the warm-up."""
        raise NotImplementedError

    def after_epoch(self, progress: Progress, cost: float) -> Progress:
        """The state after an epoch with this validation cost; without validation, this cost."""
        return progress


@dataclass(frozen=True)
class Constant(Schedule):
    """η(t) = rate."""

    name: ClassVar[str] = "constant"

    def _rates(self, t: Floats, progress: Progress) -> Floats:
        return np.full_like(t, self.rate)


@dataclass(frozen=True)
class Step(Schedule):
    """η(t) = rate · factor^⌊t / every⌋: multiplied by the factor after each `every` steps. 0 <= factor <= 1."""

    name: ClassVar[str] = "step"
    every: int = 1000
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("every", self.every)
        number_in("factor", self.factor, 0, 1)

    def _rates(self, t: Floats, progress: Progress) -> Floats:
        return self.rate * self.factor ** np.floor(t / self.every)


@dataclass(frozen=True)
class Exponential(Step):
    """η(t) = rate · factor^(t / every): as Step, but continuous. 0 <= factor <= 1."""

    name: ClassVar[str] = "exponential"

    def _rates(self, t: Floats, progress: Progress) -> Floats:
        return self.rate * self.factor ** (t / self.every)


@dataclass(frozen=True)
class Cosine(Schedule):
    """η(t) = end + (rate - end) · ½ (1 + cos(π min(t, steps) / steps)): from rate to end, where it stays.

    0 <= end <= rate (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts).
    """

    name: ClassVar[str] = "cosine"
    steps: int = 1000
    end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("steps", self.steps)
        number_in("end", self.end, 0, self.rate)

    def _rates(self, t: Floats, progress: Progress) -> Floats:
        return self.end + (self.rate - self.end) * falling(t / self.steps)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """From start · rate up to rate in the first rise · steps steps, and down to end · rate until `steps`, by cosines.

    With s = t / steps: η(t) = rate [1 - (1 - start) h(s / rise)] for s < rise, then
    rate [end + (1 - end) h((s - rise) / (1 - rise))], h(x) = ½ (1 + cos(π min(x, 1))).
    0.001 <= rise <= 0.999, 0 <= start, end <= 1 (Smith and Topin, Super-convergence, 2018; with PyTorch's
    cosines and numbers).
    """

    name: ClassVar[str] = "one_cycle"
    steps: int = 1000
    rise: float = 0.3
    start: float = 0.04
    end: float = 4e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("steps", self.steps)
        number_in("rise", self.rise, 0.001, 0.999)
        number_in("start", self.start, 0, 1)
        number_in("end", self.end, 0, 1)

    def _rates(self, t: Floats, progress: Progress) -> Floats:
        s = t / self.steps
        up = 1 - (1 - self.start) * falling(s / self.rise)
        down = self.end + (1 - self.end) * falling((s - self.rise) / (1 - self.rise))
        return self.rate * np.where(s < self.rise, up, down)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """η(t) = rate / (t + 1)^power, power > 0 (Robbins and Monro, 1951; scikit-learn's "invscaling")."""

    name: ClassVar[str] = "inverse_scaling"
    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_float("power", self.power)

    def _rates(self, t: Floats, progress: Progress) -> Floats:
        return self.rate / (t + 1) ** self.power


@dataclass(frozen=True)
class OnPlateau(Schedule):
    """η(t) = max(rate · factor^r, least) with r reductions so far.

    An epoch is better than the best before if its validation cost (without validation data, its cost) is lower by
    more than min_delta; after `patience` consecutive epochs that are not, the rate is reduced and the count restarts.
    0 <= factor <= 1, 0 <= least <= rate.
    """

    name: ClassVar[str] = "on_plateau"
    each_epoch: ClassVar[bool] = True
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    least: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number_in("factor", self.factor, 0, 1)
        positive_int("patience", self.patience)
        nonnegative_float("min_delta", self.min_delta)
        number_in("least", self.least, 0, self.rate)

    def _rates(self, t: Floats, progress: Progress) -> Floats:
        return np.full_like(t, max(self.rate * self.factor**progress.reductions, self.least))

    def after_epoch(self, progress: Progress, cost: float) -> Progress:
        if not math.isfinite(cost):  # an interrupted validation
            return progress
        if progress.best is None or cost < progress.best - self.min_delta:
            return replace(progress, best=cost, waited=0)
        if progress.waited + 1 < self.patience:
            return replace(progress, waited=progress.waited + 1)
        return replace(progress, waited=0, reductions=progress.reductions + 1)


def falling(x: Floats) -> Floats:
    """½ (1 + cos(π x)), from 1 at x = 0 to 0 at x = 1 and beyond."""
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip(x, 0, 1))), np.float64)


SCHEDULES: dict[str, type[Schedule]] = {
    kind.name: kind for kind in (Constant, Step, Exponential, Cosine, OneCycle, InverseScaling, OnPlateau)
}


def as_schedule(learning_rate: object) -> Schedule:
    """A number as a constant schedule, a schedule unchanged; ValueError or TypeError otherwise."""
    if isinstance(learning_rate, Schedule):
        return learning_rate
    if isinstance(learning_rate, str):
        row = equivalent("schedule", learning_rate, SCHEDULES)
        hint = "" if row is None or row.name is None else f": try fastbp.schedules.{SCHEDULES[row.name].__name__}"
        raise TypeError(f"learning_rate must be a number or a schedule{hint}, got {learning_rate!r}")
    return Constant(positive_float("learning_rate", learning_rate))


def to_plain(learning_rate: float | Schedule) -> float | dict[str, Any]:
    """A number unchanged, a schedule as plain data with its name."""
    if isinstance(learning_rate, Schedule):
        return {"name": learning_rate.name, **asdict(learning_rate)}
    return learning_rate


def from_plain(data: Any) -> Any:
    """The schedule from the data of `to_plain`; anything but a dict unchanged."""
    if not isinstance(data, dict):
        return data
    arguments = dict(data)
    kind = SCHEDULES[choice("schedule", arguments.pop("name"), SCHEDULES)]
    if arguments.keys() != {field.name for field in fields(kind)}:
        raise ValueError(f"a {kind.name} schedule must have {[field.name for field in fields(kind)]}")
    return kind(**arguments)
