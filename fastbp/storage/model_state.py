"""A model as plain data, and back: a description that JSON can hold, the parameters, the optimizer's moments."""

import json
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import activations, losses, optimizers
from fastbp.activations import Activation
from fastbp.custom_loss import Loss
from fastbp.engine.problem import Problem, problem_of
from fastbp.engine.state import TrainingState, aligned
from fastbp.inputs.arrays import as_vector
from fastbp.inputs.checks import nonnegative_int
from fastbp.scaling import Scaling
from fastbp.schedules import START, Progress
from fastbp.storage import files

Tensors = dict[str, NDArray[Any]]

ABSENT: dict[str, Any] = {
    "l1": 0.0,
    "l2": 0.0,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "schedule": asdict(START),
    "standardize": None,
    "trainable": (),
}
"""The values of fields that older files lack; see `files.FORMAT`."""

MOST_COUNTED = 1 << 53
"""The largest count of updates or epochs: up to it float64 holds every integer."""


def description_of(problem: Problem, state: TrainingState) -> dict[str, Any]:
    """All of a model but its arrays; custom objects by their names."""
    network = problem.network
    return {
        "sizes": network.sizes,
        "hidden": [activations.to_data(activation) for activation in network.hidden],
        "output": activations.to_data(network.output),
        "bias": network.bias,
        "loss": losses.to_data(problem.loss),
        "reduction": problem.reduction,
        "dropout": problem.dropout,
        "dtype": problem.dtype.name,
        "seed": problem.seed,
        "l1": problem.l1,
        "l2": problem.l2,
        "label_smoothing": problem.label_smoothing,
        "optimizer": optimizers.to_dict(optimizers.as_optimizer(state.optimizer)),
        "updates": state.updates,
        "epochs": state.epochs,
        "schedule": asdict(state.schedule),
        "standardize": problem.standardize,
        "trainable": problem.trainable,
    }


def to_state(problem: Problem, state: TrainingState) -> tuple[dict[str, Any], Tensors]:
    """(description, tensors) of a model; the tensors are copies. ValueError if a parameter is not finite.

    Moments may be infinite or NaN: after a divergence the parameters may still be of use.
    """
    theta = as_vector(state.theta, state.theta.size, state.theta.dtype, "parameters")
    moments = state.moments
    if moments.size != optimizers.n_moments(optimizers.as_optimizer(state.optimizer)) * theta.size:
        moments = moments[:0]  # of a replaced optimizer: the next fit discards them as well
    tensors = {"parameters": np.array(theta), "moments": np.array(moments)}
    if state.scaling is not None:
        tensors |= {f"scaling.{name}": vector for name, vector in state.scaling.named.items()}
    return description_of(problem, state), tensors


def for_file(problem: Problem, state: TrainingState) -> tuple[str, Tensors]:
    """(description as JSON, tensors) of a model. ValueError if `from_state` would not accept them."""
    try:
        description, tensors = to_state(problem, state)
        text = to_json(description)
        from_state(json.loads(text), tensors, custom_objects_in(problem))
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the model cannot be saved: {error}") from error
    return text, tensors


def custom_objects_in(problem: Problem) -> list[Activation | Loss]:
    """The user's custom activations and losses in a model."""
    parts = (*problem.network.activations, problem.loss)
    return [part for part in parts if isinstance(part, (Activation, Loss))]


def to_json(data: Any) -> str:
    """Plain data as JSON; numbers of other libraries become Python's. TypeError for anything else."""
    return json.dumps(data, default=lambda value: python_number("plain data", value))


def python_number(name: str, value: object) -> bool | int | float:
    """A number of any library as Python's; TypeError for anything else."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{name} must be numbers, strings, lists, dicts or None, got {value!r}")


def custom_objects(custom: object) -> Sequence[object]:
    """One custom object, several, or a dict of them, as a sequence."""
    if isinstance(custom, Mapping):
        return list(custom.values())
    return custom if isinstance(custom, Sequence) else [custom]


def from_state(
    description: dict[str, Any], tensors: Tensors, custom: Sequence[object] = ()
) -> tuple[Problem, TrainingState]:
    """The inverse of `to_state`, with the custom objects given. KeyError, TypeError or ValueError for invalid data.

    LookupError if a custom object is missing.
    """
    theta, moments = tensors["parameters"], tensors["moments"]
    arguments = ABSENT | description
    arguments["hidden"] = [activations.from_data(data, custom) for data in arguments["hidden"]]
    arguments["loss"] = losses.from_data(arguments["loss"], custom)
    output = activations.from_data(arguments["output"], custom)
    optimizer = optimizers.from_dict(arguments.pop("optimizer"))
    schedule = Progress(**arguments.pop("schedule"))
    updates, epochs = (count_of(name, arguments.pop(name)) for name in ("updates", "epochs"))
    for name in ("begun", "waited", "reductions"):
        count_of(name, getattr(schedule, name))
    for name, tensor in tensors.items():
        if name in ("parameters", "moments") and tensor.dtype != arguments["dtype"]:
            raise ValueError(f"{name} must be {arguments['dtype']}, got {tensor.dtype}")
    parameters = as_vector(theta, theta.size, theta.dtype, "parameters")
    problem = problem_of(**arguments | {"output": None})
    problem = problem._replace(network=replace(problem.network, output=output))  # old files allow any output
    state = TrainingState(
        aligned(problem.network.initial(parameters, problem.seed, problem.dtype)),
        aligned(moments), optimizer, updates, epochs, schedule, scaling=scaling_in(tensors, problem),
    )  # fmt: skip
    if moments.size not in (0, optimizers.n_moments(optimizer) * theta.size):
        raise ValueError(f"the optimizer's state has {moments.size} elements for {theta.size} parameters")
    if schedule.begun > updates:
        raise ValueError(f"its schedule has begun after {schedule.begun} updates, but there were {updates}")
    complete = ABSENT | {"dropout": problem.dropout} | description | {"optimizer": optimizers.to_dict(optimizer)}
    complete, again = (json.loads(to_json(data)) for data in (complete, description_of(problem, state)))
    if wrong := [name for name in complete | again if complete.get(name) != again.get(name)]:
        raise ValueError(f"{', '.join(wrong)} must be there and as a model has it")
    return problem, state


def scaling_in(tensors: Tensors, problem: Problem) -> Scaling | None:
    """The scaling of a model's tensors; ValueError if it does not suit the problem."""
    vectors = {name: tensors[f"scaling.{name}"] for name in Scaling.FIELDS if f"scaling.{name}" in tensors}
    if not vectors:
        return None
    if problem.standardize is None:
        raise ValueError("there is a scaling, but standardize is None")
    scaling = Scaling(**vectors)
    scaling.check(problem.network.n_inputs, problem.network.n_outputs, problem.dtype, problem.standardize)
    return scaling


def read(path: str | os.PathLike[str], custom: object) -> tuple[Problem, TrainingState, Tensors, dict[str, str]]:
    """The model of a file, and all of its tensors and metadata. See `Model.load`."""
    tensors, metadata = files.read(path)
    try:
        problem, state = from_state(dict(json.loads(metadata["model"])), tensors, custom_objects(custom))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise files.not_a_model(path, error) from error
    return problem, state, tensors, metadata


def count_of(name: str, value: object) -> int:
    """A count of updates or epochs as an int."""
    count = nonnegative_int(name, value)
    if count > MOST_COUNTED:
        raise ValueError(f"{name} must be at most 2**53, got {count}")
    return count
