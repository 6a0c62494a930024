"""A model as plain data, and back: a description that JSON can hold, the parameters, the optimizer's moments."""

import json
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp import activations, losses, optimizers
from fastbp.activations import Activation
from fastbp.custom_loss import Loss
from fastbp.engine.network_table import aligned_zeros
from fastbp.inputs.checks import as_vector, nonnegative_int
from fastbp.schedules import START, Progress

if TYPE_CHECKING:
    from fastbp.model import Model

Tensors = dict[str, NDArray[Any]]

ABSENT: dict[str, Any] = {"l1": 0.0, "l2": 0.0, "dropout": 0.0, "label_smoothing": 0.0, "schedule": asdict(START)}
"""What files of format 1 do not say, and mean; see `files.FORMAT`."""


MOST_COUNTED = 1 << 53
"""Of updates and epochs: the numbers after it fit in int64 and, as those before it, in float64."""


def described(model: "Model") -> dict[str, Any]:
    """All of a model but its arrays, and its own custom objects by their names."""
    network = model.network
    return {
        "sizes": network.sizes,
        "hidden": [activations.to_data(activation) for activation in network.hidden],
        "output": activations.to_data(network.output),
        "bias": network.bias,
        "loss": losses.to_data(model.loss),
        "reduction": model.reduction,
        "dropout": model.dropout,
        "dtype": model.dtype.name,
        "seed": model.seed,
        "l1": model.l1,
        "l2": model.l2,
        "label_smoothing": model.label_smoothing,
        "optimizer": optimizers.to_dict(optimizers.as_optimizer(model.optimizer)),
        "updates": model._updates,
        "epochs": model._epochs,
        "schedule": asdict(model._progress),
    }


def taken_apart(model: "Model") -> tuple[dict[str, Any], Tensors]:
    """(description, tensors) of a model; the tensors are copies. ValueError if a parameter is not finite.

    Moments that are not finite are kept as they are: after a divergence the parameters may still be wanted.
    """
    theta = as_vector(model._theta, model._theta.size, model._theta.dtype, "parameters")
    moments = model._moments
    if moments.size != optimizers.n_moments(optimizers.as_optimizer(model.optimizer)) * theta.size:
        moments = moments[:0]  # of an optimizer that was replaced: the next fit begins without them as well
    return described(model), {"parameters": np.array(theta), "moments": np.array(moments)}


def for_file(model: "Model") -> tuple[str, Tensors]:
    """(description as JSON, tensors) of a model. ValueError if `put_together` would not make it of them again."""
    from fastbp.model import Model

    try:
        description, tensors = taken_apart(model)
        text = to_json(description)
        put_together(Model, json.loads(text), tensors, own_objects(model))
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the model cannot be saved: {error}") from error
    return text, tensors


def own_objects(model: "Model") -> list[Activation | Loss]:
    """The user's own activations and losses in a model."""
    parts = (*model.network.activations, model.loss)
    return [part for part in parts if isinstance(part, (Activation, Loss))]


def to_json(data: Any) -> str:
    """Plain data as JSON; numbers of other libraries become Python's own. TypeError for anything else."""
    return json.dumps(data, default=lambda value: own_number("plain data", value))


def own_number(name: str, value: object) -> bool | int | float:
    """A number of any library as Python's own; TypeError for anything else."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{name} must be numbers, strings, lists, dicts or None, got {value!r}")


def custom_objects(custom: object) -> Sequence[object]:
    """One object of the user's, several, or a dict of them, as a sequence."""
    if isinstance(custom, Mapping):
        return list(custom.values())
    return custom if isinstance(custom, Sequence) else [custom]


def put_together(
    kind: "type[Model]", description: dict[str, Any], tensors: Tensors, custom: Sequence[object] = ()
) -> "Model":
    """The model that was taken apart, with the user's own objects. KeyError, TypeError or ValueError for anything else.

    LookupError if a custom object is missing.
    """
    theta, moments = tensors["parameters"], tensors["moments"]
    arguments = ABSENT | description
    arguments["hidden"] = [activations.from_data(data, custom) for data in arguments["hidden"]]
    output = activations.from_data(arguments.pop("output"), custom)
    arguments["loss"] = losses.from_data(arguments["loss"], custom)
    optimizer = optimizers.from_dict(arguments["optimizer"])
    del arguments["optimizer"]
    progress = Progress(**arguments.pop("schedule"))
    updates, epochs = (count_of(name, arguments.pop(name)) for name in ("updates", "epochs"))
    for name in ("begun", "waited", "reductions"):
        count_of(name, getattr(progress, name))
    for name, tensor in tensors.items():
        if name in ("parameters", "moments") and tensor.dtype != arguments["dtype"]:
            raise ValueError(f"{name} must be {arguments['dtype']}, got {tensor.dtype}")
    model = kind(initial=as_vector(theta, theta.size, theta.dtype, "parameters"), **arguments)
    model.network = replace(model.network, output=output)  # which in old files need not fit the loss
    if moments.size not in (0, optimizers.n_moments(optimizer) * theta.size):
        raise ValueError(f"the optimizer's state has {moments.size} elements for {theta.size} parameters")
    if progress.begun > updates:
        raise ValueError(f"its schedule has begun after {progress.begun} updates, but there were {updates}")
    model.optimizer, model._updates, model._epochs, model._progress = optimizer, updates, epochs, progress
    model._moments = aligned_zeros(moments.size, model.dtype)
    model._moments[:] = moments.ravel()
    complete = ABSENT | {"dropout": model.dropout} | description | {"optimizer": optimizers.to_dict(optimizer)}
    complete, again = (json.loads(to_json(data)) for data in (complete, described(model)))
    if wrong := [name for name in complete | again if complete.get(name) != again.get(name)]:
        raise ValueError(f"{', '.join(wrong)} must be there and as a model has it")
    return model


def count_of(name: str, value: object) -> int:
    """Updates or epochs as an int."""
    count = nonnegative_int(name, value)
    if count > MOST_COUNTED:
        raise ValueError(f"{name} must be at most 2**53, got {count}")
    return count
