"""A model as plain data, and back: a description that JSON can hold, the parameters, the optimizer's moments."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp import custom_activation, losses, optimizers
from fastbp.program import aligned_zeros
from fastbp.schedules import START, Progress
from fastbp.validation import nonnegative_int

if TYPE_CHECKING:
    from fastbp.model import Model

Tensors = dict[str, NDArray[Any]]

ABSENT: dict[str, Any] = {"l1": 0.0, "l2": 0.0, "dropout": 0.0, "label_smoothing": 0.0, "schedule": asdict(START)}
"""What files of format 1 do not say, and mean; see `files.FORMAT`."""


def taken_apart(model: "Model") -> tuple[dict[str, Any], Tensors]:
    """(description, tensors) of a model; the tensors are copies."""
    network = model.network
    description = {
        "sizes": network.sizes,
        "hidden": [custom_activation.to_data(activation) for activation in network.hidden],
        "output": custom_activation.to_data(network.output),
        "bias": network.bias,
        "loss": losses.to_data(model.loss),
        "reduction": model.reduction,
        "dropout": model.dropout,
        "dtype": model.dtype.name,
        "seed": model.seed,
        "l1": model.l1,
        "l2": model.l2,
        "label_smoothing": model.label_smoothing,
        "optimizer": optimizers.to_dict(model.optimizer),
        "updates": model._updates,
        "epochs": model._epochs,
        "schedule": asdict(model._progress),
    }
    return description, {"parameters": np.array(model._theta), "moments": np.array(model._moments)}


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
    arguments["hidden"] = [custom_activation.from_data(data, custom) for data in arguments["hidden"]]
    output = custom_activation.from_data(arguments.pop("output"), custom)
    arguments["loss"] = losses.from_data(arguments["loss"], custom)
    optimizer = optimizers.from_dict(arguments["optimizer"])
    del arguments["optimizer"]
    progress = Progress(**arguments.pop("schedule"))
    updates, epochs = (nonnegative_int(name, arguments.pop(name)) for name in ("updates", "epochs"))
    if theta.dtype != arguments["dtype"] or moments.dtype != theta.dtype:
        raise ValueError(f"parameters must be {arguments['dtype']}, got {theta.dtype}")
    model = kind(initial=theta, **arguments)
    model.network = replace(model.network, output=output)  # which in old files need not fit the loss
    if moments.size not in (0, optimizers.n_moments(optimizer) * theta.size):
        raise ValueError(f"the optimizer's state has {moments.size} elements for {theta.size} parameters")
    if progress.begun > updates:
        raise ValueError(f"its schedule has begun after {progress.begun} updates, but there were {updates}")
    model.optimizer, model._updates, model._epochs, model._progress = optimizer, updates, epochs, progress
    model._moments = aligned_zeros(moments.size, model.dtype)
    model._moments[:] = moments.ravel()
    complete = ABSENT | {"dropout": model.dropout} | description | {"optimizer": optimizers.to_dict(optimizer)}
    if json.dumps(taken_apart(model)[0], sort_keys=True) != json.dumps(complete, sort_keys=True):
        raise ValueError("its description is not complete")
    return model
