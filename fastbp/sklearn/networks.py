"""Models for the estimators: layers, activations, initial weights and penalty by scikit-learn's parameters."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import Model, Scaling
from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.inputs.arrays import as_shape
from fastbp.inputs.checks import choice

Array = NDArray[Any]

FASTBP_ACTIVATIONS = {"logistic": "sigmoid", "exp": "exponential"}
"""scikit-learn's names of activations, where fastbp's differ."""

SEED_LIMIT = np.iinfo(np.int32).max
"""Seeds are drawn below it."""

HIDDEN = ("logistic", *ACTIVATIONS)


def hidden_sizes(estimator: Any) -> list[int]:
    """hidden_layer_sizes as a list; scikit-learn's message for a size that is not positive."""
    sizes = estimator.hidden_layer_sizes
    sizes = list(sizes) if np.iterable(sizes) else [sizes]
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return sizes


def hidden_activations(estimator: Any, layers: int) -> tuple[Any, ...]:
    """fastbp's activation of each hidden layer."""
    given = estimator.activation
    if isinstance(given, (list, tuple)):
        if len(given) != layers:
            raise ValueError(
                f"activation must be one activation or one for each of the {layers} hidden layers, got {len(given)}"
            )
    else:
        given = (given,) * layers
    names = (choice("activation", a, HIDDEN) if isinstance(a, str) else a for a in given)
    return tuple(FASTBP_ACTIVATIONS.get(a, a) for a in names)


def new_model(estimator: Any, sizes: Sequence[int], dtype: Any, rng: np.random.RandomState) -> Model:
    """A model with the initial weights of the estimator's parameters; draws from rng as scikit-learn does."""
    hidden = hidden_activations(estimator, len(sizes) - 2)
    initial = estimator.initial
    if initial is None:
        initial = initial_theta(sizes, hidden, rng, dtype)
    elif not isinstance(initial, str):
        coefs, intercepts = initial
        initial = theta_of(coefs, intercepts, sizes, dtype)
    seed = int(rng.randint(SEED_LIMIT)) if isinstance(initial, str) else 0
    return model_of(estimator, sizes, initial, dtype, seed)


def model_of(
    estimator: Any, sizes: Sequence[int], initial: Any, dtype: Any, seed: int = 0, scaling: Scaling | None = None
) -> Model:
    """A model of these sizes with these parameters, for the estimator's loss and output; scaling: a learned one."""
    return Model(
        tuple(int(size) for size in sizes),
        hidden=hidden_activations(estimator, len(sizes) - 2),
        output=FASTBP_ACTIVATIONS.get(estimator.out_activation_, estimator.out_activation_),
        loss=estimator._loss(),
        dtype=dtype,
        seed=seed,
        initial=initial,
        dropout=estimator.dropout,
        standardize=estimator.standardize if scaling is None else scaling,
    )


def initial_theta(sizes: Sequence[int], hidden: Sequence[Any], rng: np.random.RandomState, dtype: Any) -> Array:
    """theta: w and b uniform in ±√(f / (n_in + n_out)), f = 2 before a logistic function, else 6.

    Glorot and Bengio, AISTATS 2010. With one activation for all layers these are the numbers that scikit-learn draws.
    """
    blocks = []
    for (n_in, n_out), activation in zip(pairwise(sizes), (*hidden, hidden[-1] if hidden else None), strict=True):
        limit = np.sqrt((2.0 if activation == "sigmoid" else 6.0) / (n_in + n_out))
        blocks += [rng.uniform(-limit, limit, n_in * n_out), rng.uniform(-limit, limit, n_out)]
    return np.concatenate(blocks).astype(dtype)


def theta_of(coefs: Sequence[Any], intercepts: Sequence[Any], sizes: Sequence[int], dtype: Any) -> Array:
    """theta from arrays shaped like coefs_, (n_in, n_out) each, and intercepts_, (n_out,) each."""
    layers = list(pairwise(sizes))
    if len(coefs) != len(layers) or len(intercepts) != len(layers):
        raise ValueError(
            f"initial weights must be those of {len(layers)} layers, got {len(coefs)} arrays of coefficients "
            f"and {len(intercepts)} of intercepts"
        )
    blocks = []
    for i, (n_in, n_out) in enumerate(layers):
        blocks.append(as_shape(coefs[i], (n_in, n_out), dtype, f"coefs[{i}]").ravel())
        blocks.append(as_shape(intercepts[i], (n_out,), dtype, f"intercepts[{i}]"))
    return np.concatenate(blocks)


def without_scaling(model: Model) -> tuple[list[Array], list[Array]]:
    """(coefs, intercepts) of the network that takes raw inputs and gives raw outputs: the scaling is folded in.

    With w'_jk = w_jk / scale_k, Σ_k w_jk (x_k - mean_k) / scale_k + b_j = Σ_k w'_jk x_k + b_j - Σ_k w'_jk mean_k.
    """
    coefs, intercepts = ([np.array(array, np.float64) for array in arrays] for arrays in views(model))
    if (scaling := model.scaling) is not None:
        coefs[0] /= scaling.scale[:, None]
        intercepts[0] -= scaling.mean @ coefs[0]
        if scaling.output_mean is not None and scaling.output_scale is not None:
            coefs[-1] *= scaling.output_scale
            intercepts[-1] = intercepts[-1] * scaling.output_scale + scaling.output_mean
    return [w.astype(model.dtype) for w in coefs], [b.astype(model.dtype) for b in intercepts]


def copy_of(model: Model) -> Model:
    """Another model with the same parameters and state: as copy.deepcopy, but faster."""
    copy = Model.__new__(Model)
    copy.__setstate__(model.__getstate__())
    return copy


def views(model: Model) -> tuple[list[Array], list[Array]]:
    """(coefs, intercepts): live views of the model's parameters, in scikit-learn's shapes."""
    return [w.T for w in model.weights], list(model.biases)


def same_memory(arrays: Sequence[Any], others: Sequence[Array]) -> bool:
    """Whether the arrays are views of the same elements, one by one."""
    return len(arrays) == len(others) and all(
        isinstance(a, np.ndarray) and a.__array_interface__ == b.__array_interface__
        for a, b in zip(arrays, others, strict=True)
    )
