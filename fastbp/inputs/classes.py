"""Classes of examples: their indices, their weights, and stratified splits."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data import stratified_split
from fastbp.inputs.checks import nonnegative_float, nonnegative_int

Array = NDArray[Any]
ClassWeight = str | Mapping[int, float]


def classes_of(y: Array, output: object, loss: object) -> Array | None:
    """The class of each example of checked targets, (n,); None where they are not classes.

    Class indices; rows with a single 1 for softmax; a column of 0 and 1 for binary_cross_entropy.
    """
    if y.ndim == 1:
        return y.astype(np.int64)
    if not np.all((y == 0) | (y == 1)):
        return None
    if output == "softmax" and np.all(y.sum(axis=1) == 1):
        return np.asarray(y.argmax(axis=1))
    if loss == "binary_cross_entropy" and y.shape[1] == 1:
        return y[:, 0].astype(np.int64)
    return None


def predicted_classes(outputs: Array) -> Array:
    """The class of each row of outputs: the largest one's; of a single output 1 from 0.5 on, else 0."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] >= 0.5).astype(np.int64)
    return np.asarray(outputs.argmax(axis=1))


def class_weights(class_weight: object, classes: Array | None, n_classes: int) -> Array:
    """The weight of each example by its class, float64 (n,).

    "balanced": n / (number of classes with examples * examples of the class), so that each class weighs the same
    (King and Zeng, Political Analysis 2001). A dict: class index -> weight, 1 for classes that it does not name.
    """
    if classes is None:
        raise ValueError("class_weight needs targets that are classes, got others")
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f'class_weight must be "balanced" or a dict of class -> weight, got {class_weight!r}')
        counts = np.bincount(classes, minlength=n_classes)
        return (len(classes) / np.count_nonzero(counts) / np.maximum(counts, 1))[classes]
    if not isinstance(class_weight, Mapping):
        raise TypeError(f'class_weight must be "balanced" or a dict of class -> weight, got {class_weight!r}')
    weights = np.ones(n_classes)
    for key, weight in class_weight.items():
        number = nonnegative_int("a class of class_weight", key)
        if number >= n_classes:
            raise ValueError(f"class_weight must name classes from 0 to {n_classes - 1}, got {number}")
        weights[number] = nonnegative_float(f"class_weight[{number}]", weight)
    return weights[classes]


def held_out(rows: int, classes: Array | None, fraction: float, seed: int) -> tuple[Array, Array]:
    """Row numbers to train on and to validate on, ascending; every class is shared out in proportion."""
    try:
        return stratified_split(np.zeros(rows) if classes is None else classes, fraction, seed)
    except ValueError:
        raise ValueError(f"validation_fraction={fraction} leaves none of {rows} rows to validate on") from None
