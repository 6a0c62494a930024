"""Optimizers: frozen specifications, whose numbers the update rules of the core read.

t counts an optimizer's updates from 1. η is its learning rate at that update, w are the weights among the parameters
θ, g is the gradient.
"""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastbp import schedules
from fastbp.core.formulas.optimizers import RULES
from fastbp.inputs.checks import boolean, choice, fraction, nonnegative_float, number_in, positive_float
from fastbp.schedules import Progress, Schedule, as_schedule

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]


@dataclass(frozen=True)
class Optimizer:
    """learning_rate: η > 0 or a schedule (see `fastbp.schedules`). clip_norm: None, or the largest global norm ‖g‖ of
    the gradient over all parameters, penalties included: g ← g min(1, clip_norm / ‖g‖) (Pascanu et al., ICML 2013).
    """

    name: ClassVar[str]
    full_batch: ClassVar[bool] = False
    """Whether every mini-batch must be the whole training set."""

    learning_rate: float | Schedule = 0.001
    clip_norm: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)
        if self.clip_norm is not None:
            positive_float("clip_norm", self.clip_norm)

    @property
    def rule(self) -> str:
        """The update rule in the core."""
        return self.name

    def numbers(self, t: Steps) -> tuple[float | Floats, ...]:
        """The numbers that the rule reads after the learning rate: one for each update t, or one for all."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent: v ← μ v + g, θ ← θ - η v; with nesterov, θ ← θ - η (g + μ v).

    0 <= μ = momentum < 1 (Sutskever et al., ICML 2013).
    """

    name: ClassVar[str] = "sgd"
    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("momentum", self.momentum)
        boolean("nesterov", self.nesterov)

    @property
    def rule(self) -> str:
        return "momentum" if self.momentum else "sgd"

    def numbers(self, t: Steps) -> tuple[float | Floats, ...]:
        return self.momentum, float(self.nesterov)


def vanishing(beta: float) -> int:
    """The t from which 1 - β^t is 1 in float64: beyond it β^t is not computed, which is slow where it underflows."""
    return math.ceil(math.log(1e-17) / math.log(beta)) if beta > 0 else 1


@dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β1 m + (1 - β1) g, v ← β2 v + (1 - β2) g², θ ← θ - η m̂ / (√v̂ + ε),
    m̂ = m / (1 - β1^t), v̂ = v / (1 - β2^t).

    0 <= beta_1, beta_2 < 1, ε = epsilon > 0 (Kingma and Ba, ICLR 2015).
    """

    name: ClassVar[str] = "adam"
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("beta_1", self.beta_1)
        fraction("beta_2", self.beta_2)
        positive_float("epsilon", self.epsilon)

    def numbers(self, t: Steps) -> tuple[float | Floats, ...]:
        corrections = (1 - np.float64(beta) ** np.minimum(t, vanishing(beta)) for beta in (self.beta_1, self.beta_2))
        return self.beta_1, self.beta_2, self.epsilon, *corrections


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled decay of the weights, not of the biases: w ← w - η (m̂ / (√v̂ + ε) + λ w).

    λ = weight_decay >= 0 (Loshchilov and Hutter, ICLR 2019).
    """

    name: ClassVar[str] = "adamw"
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        nonnegative_float("weight_decay", self.weight_decay)

    def numbers(self, t: Steps) -> tuple[float | Floats, ...]:
        return *super().numbers(t), self.weight_decay


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov's momentum: m and v as Adam's, and
    θ ← θ - η [μ_{t+1} m / (1 - Π_{t+1}) + (1 - μ_t) g / (1 - Π_t)] / (√v̂ + ε),
    μ_t = β1 (1 - ½ 0.96^(ψ t)), Π_t = μ_1 μ_2 … μ_t.

    ψ = momentum_decay >= 0 (Dozat, ICLR 2016 workshop; as in PyTorch, m decays by β1, and v̂ is Adam's).
    """

    name: ClassVar[str] = "nadam"
    learning_rate: float | Schedule = 0.002
    momentum_decay: float = 0.004

    def __post_init__(self) -> None:
        super().__post_init__()
        nonnegative_float("momentum_decay", self.momentum_decay)

    def numbers(self, t: Steps) -> tuple[float | Floats, ...]:
        weight_of_g = (1 - self._mu(t)) / (1 - self._products(t))
        weight_of_m = self._mu(t + 1) / (1 - self._products(t + 1))
        return *super().numbers(t), weight_of_g, weight_of_m

    def _mu(self, t: Steps) -> Floats:
        """μ_t."""
        return np.asarray(self.beta_1 * (1 - 0.5 * 0.96 ** (self.momentum_decay * t)), np.float64)

    def _products(self, t: Steps) -> Floats:
        """Π_t, as a cumulative product up to the t from which 1 - Π_t is 1."""
        count = min(vanishing(self.beta_1), 1 << int(t.max()).bit_length())
        return np.asarray(np.cumprod(self._mu(np.arange(1, count + 1)))[np.minimum(t, count) - 1], np.float64)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v ← ρ v + (1 - ρ) g², θ ← θ - η g / (√v + ε).

    0 <= ρ = rho < 1, ε = epsilon > 0 (Tieleman and Hinton, Neural Networks for Machine Learning, lecture 6.5, 2012).
    """

    name: ClassVar[str] = "rmsprop"
    rho: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("rho", self.rho)
        positive_float("epsilon", self.epsilon)

    def numbers(self, t: Steps) -> tuple[float | Floats, ...]:
        return self.rho, self.epsilon


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """v ← v + g², θ ← θ - η g / (√v + ε).

    ε = epsilon > 0 (Duchi, Hazan and Singer, JMLR 2011).
    """

    name: ClassVar[str] = "adagrad"
    learning_rate: float | Schedule = 0.01
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_float("epsilon", self.epsilon)

    def numbers(self, t: Steps) -> tuple[float | Floats, ...]:
        return (self.epsilon,)


@dataclass(frozen=True)
class Rprop(Optimizer):
    """θ ← θ - Δ sign(g), each parameter with its own Δ, initially learning_rate. Where g has the sign of the
    previous g, Δ ← min(η+ Δ, Δmax); where it has changed, Δ ← max(η- Δ, Δmin) and g ← 0, also for the next step.

    For full batches. η- = shrink in (0, 1], η+ = grow >= 1, 0 < Δmin = least <= learning_rate <= Δmax = most (iRprop-:
    Riedmiller and Braun, ICNN 1993, without backtracking, as improved by Igel and Hüsken, NC 2000; also PyTorch's).
    The learning rate must be a number; clipping the gradient has no effect, as it changes no sign.
    """

    name: ClassVar[str] = "rprop"
    full_batch: ClassVar[bool] = True
    learning_rate: float | Schedule = 0.1
    shrink: float = 0.5
    grow: float = 1.2
    least: float = 1e-6
    most: float = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "shrink", "grow", "least", "most"):
            positive_float(name, getattr(self, name))
        number_in("shrink", self.shrink, 0, 1)
        number_in("grow", self.grow, 1, math.inf)
        number_in("learning_rate", self.learning_rate, self.least, self.most)

    def numbers(self, t: Steps) -> tuple[float | Floats, ...]:
        return self.shrink, self.grow, self.least, self.most, np.asarray(t == 1, np.float64)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.name: kind for kind in (SGD, Adam, AdamW, NAdam, RMSprop, Adagrad, Rprop)
}


def as_optimizer(optimizer: object) -> Optimizer:
    """An optimizer, or its name; ValueError or TypeError otherwise."""
    if isinstance(optimizer, str):
        return OPTIMIZERS[choice("optimizer", optimizer, OPTIMIZERS)]()
    if isinstance(optimizer, Optimizer) and optimizer.name in OPTIMIZERS:
        return optimizer
    raise TypeError(f"optimizer must be one of {sorted(OPTIMIZERS)} or an object like fastbp.Adam(), got {optimizer!r}")


def checked_batch(optimizer: Optimizer, batch_size: int, rows: int) -> int:
    """batch_size, at most all rows; ValueError if it is smaller and the optimizer needs full batches."""
    if optimizer.full_batch and batch_size < rows:
        raise ValueError(
            f"batch_size must be {rows} or more, all rows, for {type(optimizer).__name__}, got {batch_size}"
        )
    return min(batch_size, rows)


def n_moments(optimizer: Optimizer) -> int:
    """The number of vectors like theta that the optimizer's rule keeps from step to step."""
    return int(RULES[optimizer.rule].moments)


def to_dict(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer as plain data, with its name."""
    learning_rate = schedules.to_plain(optimizer.learning_rate)
    return {"name": optimizer.name, **asdict(optimizer), "learning_rate": learning_rate}


def from_dict(data: dict[str, Any]) -> Optimizer:
    """The optimizer from the data of `to_dict`, of this version or of one without clip_norm."""
    arguments = {"clip_norm": None, **data}
    kind = OPTIMIZERS[choice("optimizer", arguments.pop("name"), OPTIMIZERS)]
    if arguments.keys() != {field.name for field in fields(kind)}:
        raise ValueError(f"{kind.name} must have {[field.name for field in fields(kind)]}")
    arguments["learning_rate"] = schedules.from_plain(arguments["learning_rate"])
    return kind(**arguments)


class ScheduledOptimizer:
    """An optimizer with the state of its learning rate's schedule."""

    def __init__(self, optimizer: Optimizer, progress: Progress) -> None:
        self.optimizer, self.progress = optimizer, progress
        self.schedule = as_schedule(optimizer.learning_rate)

    def settings(self, before: int, steps: int) -> Floats:
        """The numbers that the rule reads, one row for each of `steps` steps after `before` updates."""
        t = np.arange(before, before + steps)
        with np.errstate(over="ignore", under="ignore"):  # 1 / infinity is the limit
            rates = self.schedule.rates(t - self.progress.begun, self.progress)
            columns = (rates, *self.optimizer.numbers(t + 1))
        table = np.empty((steps, len(columns)))
        for column, numbers in enumerate(columns):
            table[:, column] = numbers
        return table

    def rate(self, update: int) -> float:
        """The learning rate of the update with this number, counted from 0."""
        return float(self.settings(update, 1)[0, 0])

    def after_epoch(self, cost: float) -> None:
        self.progress = self.schedule.after_epoch(self.progress, cost)
