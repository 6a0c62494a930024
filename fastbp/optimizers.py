"""Optimizers: frozen specs whose numbers go to the update rules of the core."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from fastbp.core.optimizers import RULES
from fastbp.validation import boolean, choice, fraction, positive_float


@dataclass(frozen=True)
class SGD:
    """Gradient descent: v ← μ v + g, θ ← θ - η v; with nesterov, θ ← θ - η (g + μ v).

    η = learning_rate > 0, 0 <= μ = momentum < 1 (Sutskever et al., ICML 2013).
    """

    name: ClassVar[str] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        positive_float("learning_rate", self.learning_rate)
        fraction("momentum", self.momentum)
        boolean("nesterov", self.nesterov)

    @property
    def rule(self) -> str:
        """The update rule in the core."""
        return "momentum" if self.momentum else "sgd"

    @property
    def settings(self) -> tuple[float, ...]:
        """The numbers that the rule reads."""
        return self.learning_rate, self.momentum, float(self.nesterov)


@dataclass(frozen=True)
class Adam:
    """m ← β1 m + (1 - β1) g, v ← β2 v + (1 - β2) g², θ ← θ - η m̂ / (√v̂ + ε),
    m̂ = m / (1 - β1^t), v̂ = v / (1 - β2^t).

    η = learning_rate > 0, 0 <= beta_1, beta_2 < 1, ε = epsilon > 0 (Kingma and Ba, ICLR 2015).
    """

    name: ClassVar[str] = "adam"
    rule: ClassVar[str] = "adam"
    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        positive_float("learning_rate", self.learning_rate)
        fraction("beta_1", self.beta_1)
        fraction("beta_2", self.beta_2)
        positive_float("epsilon", self.epsilon)

    @property
    def settings(self) -> tuple[float, ...]:
        """The numbers that the rule reads."""
        return self.learning_rate, self.beta_1, self.beta_2, self.epsilon


Optimizer = SGD | Adam
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, Adam)}


def as_optimizer(optimizer: object) -> Optimizer:
    """An optimizer, or its name; ValueError or TypeError otherwise."""
    if isinstance(optimizer, str):
        return OPTIMIZERS[choice("optimizer", optimizer, OPTIMIZERS)]()
    if isinstance(optimizer, (SGD, Adam)):
        return optimizer
    raise TypeError(f"optimizer must be one of {sorted(OPTIMIZERS)} or an object like fastbp.Adam(), got {optimizer!r}")


def n_moments(optimizer: Optimizer) -> int:
    """Vectors like theta that the optimizer's rule keeps from step to step."""
    return int(RULES[optimizer.rule].moments)


def to_dict(optimizer: Optimizer) -> dict[str, Any]:
    """The spec as plain data, with its name."""
    return {"name": optimizer.name, **asdict(optimizer)}


def from_dict(data: dict[str, Any]) -> Optimizer:
    """What `to_dict` gave."""
    data = dict(data)
    return OPTIMIZERS[choice("optimizer", data.pop("name"), OPTIMIZERS)](**data)
