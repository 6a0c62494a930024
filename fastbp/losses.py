"""Losses with parameters, and what a `loss` argument may be: a name of the table, one of these, or `fastbp.Loss`."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from fastbp.activations import named
from fastbp.core.formulas.losses import LOSSES, OWN_OUTPUT
from fastbp.core.layers import custom_loss
from fastbp.core.layers.loss import loss_kernel
from fastbp.custom_loss import Loss
from fastbp.inputs.checks import choice, fraction, positive_float


@dataclass(frozen=True)
class Huber:
    """½ e² for e = |a - y| <= δ, δ (e - ½ δ) beyond: quadratic near the target, linear far away.

    δ = delta > 0 (Huber, Annals of Mathematical Statistics, 1964).
    """

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", positive_float("delta", self.delta))


@dataclass(frozen=True)
class Quantile:
    """q (y - a) for a < y, (1 - q) (a - y) for a > y: its minimum is the q-quantile of y, for q = ½ the median.

    0 < q < 1 (Koenker and Bassett, Econometrica, 1978).
    """

    name: ClassVar[str] = "quantile"
    q: float = 0.5

    def __post_init__(self) -> None:
        q = positive_float("q", self.q)
        if q >= 1:
            raise ValueError(f"q must lie between 0 and 1, got {self.q!r}")
        object.__setattr__(self, "q", q)


AnyLoss = str | Huber | Quantile | Loss
PARAMETRIC: dict[str, type[Huber] | type[Quantile]] = {kind.name: kind for kind in (Huber, Quantile)}
SMOOTHED = ("cross_entropy", "binary_cross_entropy")
"""Losses that take `label_smoothing`."""

DEFAULT: dict[object, str] = {output: loss for loss, output in reversed(OWN_OUTPUT.items())}
"""The loss that suits an output: of those with a stable form for it, the first in the table."""


FITTING = {
    "cross_entropy": ("(0, 1]", ("softmax", "sigmoid", "gaussian")),
    "kullback_leibler": ("(0, 1]", ("softmax", "sigmoid", "gaussian")),
    "binary_cross_entropy": ("(0, 1)", ("sigmoid", "softmax")),
    "poisson": ("(0, ∞)", ("exponential", "softplus", "sigmoid", "softmax", "gaussian")),
}
"""For a loss with a logarithm: the interval of every a_j, and the outputs with such values, the loss's own first."""


def own_output(loss: object) -> str:
    """The output of a model for which none is given: the one with which its loss has a stable form, else identity."""
    return OWN_OUTPUT.get(loss, "identity") if isinstance(loss, str) else "identity"


def as_loss(loss: object, output: object, n_outputs: int, dtype: DTypeLike) -> AnyLoss:
    """A loss, or its name, or None for the one that suits the output; ValueError or TypeError otherwise.

    ValueError also for a loss with a logarithm and a named output whose values may be outside its domain.
    """
    if loss is None:
        return DEFAULT.get(output, "squared_error")
    checked: AnyLoss
    if isinstance(loss, (Huber, Quantile, Loss)):
        checked = loss
    else:
        checked = choice("loss", loss, LOSSES)
        checked = PARAMETRIC[checked]() if checked in PARAMETRIC else checked
    for parameter in parameters_of(checked):
        with np.errstate(all="ignore"):
            rounded = np.asarray(parameter).astype(dtype)
        if not 0 < rounded < np.inf:
            raise ValueError(f"loss must have parameters that fit in {np.dtype(dtype)}, got {checked}")
    if n_outputs % outputs_of(checked):
        raise ValueError(
            f"loss {name_of(checked)!r} needs an even number of outputs: the means, then as many log variances; "
            f"got {n_outputs}"
        )
    where, fitting = FITTING.get(name_of(checked), ("", ()))
    if fitting and isinstance(output, str) and output not in fitting:
        raise ValueError(
            f"loss {name_of(checked)!r} needs an output with values in {where}, such as {fitting[0]!r}, "
            f"got output {output!r}"
        )
    return checked


def as_smoothing(share: object, loss: AnyLoss) -> float:
    """The label smoothing ε in [0, 1); 0 for a loss without label smoothing."""
    result = fraction("label_smoothing", share)
    if result and name_of(loss) not in SMOOTHED:
        raise ValueError(f"label_smoothing is for the losses {' and '.join(SMOOTHED)}, got loss {name_of(loss)!r}")
    return result


def name_of(loss: AnyLoss) -> str:
    """The loss's name."""
    return loss if isinstance(loss, str) else loss.name


def parameters_of(loss: AnyLoss) -> tuple[float, ...]:
    """The parameters that follow (a, y) in the loss's formula."""
    return astuple(loss) if isinstance(loss, (Huber, Quantile)) else ()


def outputs_of(loss: AnyLoss) -> int:
    """Outputs for each number in y."""
    return 1 if isinstance(loss, Loss) else int(LOSSES[name_of(loss)].outputs)


def kernel_of(loss: AnyLoss, output: object, width: int, classes: bool, size: int, fused: bool) -> tuple[Any, bool]:
    """(kernel, whether it is fused), see `loss_kernel` in core/layers/loss.py."""
    if isinstance(loss, Loss):
        return custom_loss.of_functions(loss.value, loss.derivative, size), False
    made: tuple[Any, bool] = loss_kernel(name_of(loss), output, width, classes, size, fused, parameters_of(loss))
    return made


def to_data(loss: AnyLoss) -> str | dict[str, Any]:
    """The loss as plain data; a custom one by its name."""
    if isinstance(loss, Loss):
        return {"custom": loss.name}
    return loss if isinstance(loss, str) else {"name": loss.name, **asdict(loss)}


def from_data(data: str | dict[str, Any], custom: Sequence[object] = ()) -> AnyLoss:
    """The loss from the data of `to_data`; a custom loss is the one of that name in `custom`."""
    if isinstance(data, str):
        return data
    data = dict(data)
    if "custom" not in data:
        return PARAMETRIC[choice("loss", data.pop("name"), PARAMETRIC)](**data)
    return named(Loss, data["custom"], custom)
