"""Class labels as class indices, and class weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from fastbp.inputs.checks import nonnegative_float

Array = NDArray[Any]


@dataclass(frozen=True)
class Labels:
    """The classes of a problem: "binary" (one output), "multiclass" (one each) or "multilabel-indicator" (one each)."""

    kind: str
    classes: Array

    @classmethod
    def from_targets(cls, y: Array) -> "Labels":
        """The classes in y; ValueError with scikit-learn's message if y does not hold classes."""
        kind = type_of_target(y, input_name="y")
        check_classification_targets(y)
        if "multioutput" in kind:
            raise ValueError("Multioutput target data is not supported with label binarization")
        if kind == "multilabel-indicator":
            return cls(kind, np.arange(y.shape[1]))
        return cls.from_classes(unique_labels(y))

    @classmethod
    def from_classes(cls, classes: Array) -> "Labels":
        """For y with one of these classes for each example."""
        return cls("binary" if len(classes) <= 2 else "multiclass", classes)

    @property
    def is_multilabel(self) -> bool:
        """Whether an example has several labels, not one class."""
        return self.kind == "multilabel-indicator"

    def check(self, y: Array, name: str) -> None:
        """ValueError unless y has one label for each example, or a column for each of several."""
        columns = (len(self.classes),) if self.is_multilabel else ()
        if y.shape[1:] != columns:
            expected = f"(n, {columns[0]}), 0 and 1 for each label" if columns else "(n,), one class for each example"
            raise ValueError(f"{name} must have shape {expected}, got shape {y.shape}")

    @property
    def n_outputs(self) -> int:
        """Outputs of a network for these classes."""
        return 1 if self.kind == "binary" else len(self.classes)

    def encode(self, y: Array) -> Array:
        """Class indices (n,) for one class each, else 0 and 1, (n, labels)."""
        if self.is_multilabel:
            return (y != 0).astype(np.int8)
        return np.searchsorted(self.classes, y)

    def indicators(self, encoded: Array) -> Array:
        """Whether each example has each class or label: (n, classes)."""
        return encoded == 1 if self.is_multilabel else encoded[:, np.newaxis] == np.arange(len(self.classes))

    def decode(self, outputs: Array) -> Array:
        """The labels for a network's outputs (n, n_outputs)."""
        if self.is_multilabel:
            return (outputs > 0.5).astype(int)
        if self.kind == "binary":
            return self.classes[(outputs.ravel() > 0.5).astype(int) * (len(self.classes) - 1)]
        return self.classes[outputs.argmax(axis=1)]


@dataclass(frozen=True)
class ClassWeights:
    """Example weights by class: given, or "balanced" over all examples counted so far."""

    class_weight: Any
    counts: list[Array]  # examples of each class; one array for each label
    given: list[Array]

    @classmethod
    def empty(cls, class_weight: Any, labels: Labels) -> "ClassWeights":
        """No examples counted; ValueError if class_weight does not fit the labels."""
        several = labels.is_multilabel
        classes = [np.array([0, 1])] * len(labels.classes) if several else [labels.classes]
        counts = [np.zeros(len(names), np.int64) for names in classes]
        if isinstance(class_weight, str):
            return cls(class_weight, counts, [])
        given = class_weight if several else [class_weight]
        if not isinstance(given, list) or len(given) != len(classes) or not all(isinstance(g, Mapping) for g in given):
            raise ValueError(
                f"class_weight must be 'balanced' or a dict, for {len(labels.classes)} labels a list of one dict for "
                f"each, got {class_weight!r}"
            )
        names = [f"class_weight[{j}]" for j in range(len(classes))] if several else ["class_weight"]
        return cls(class_weight, counts, list(map(weights_of, classes, given, names)))

    def counting(self, encoded: Array) -> "ClassWeights":
        """A copy that has counted these examples, too."""
        counts = [
            count + np.bincount(column, minlength=len(count))
            for count, column in zip(self.counts, columns(encoded), strict=True)
        ]
        return ClassWeights(self.class_weight, counts, self.given)

    @property
    def weights(self) -> list[Array]:
        """The weight of each class; if balanced, n / (classes that occur * its examples), as compute_class_weight."""
        return self.given or [
            np.divide(count.sum() / np.count_nonzero(count), count, out=np.ones(len(count)), where=count > 0)
            for count in self.counts
        ]

    def example_weights(self, encoded: Array) -> Array:
        """The weight of each example: the product over its labels."""
        factors = [weights[column] for weights, column in zip(self.weights, columns(encoded), strict=True)]
        product: Array = np.prod(factors, axis=0)
        return product


def weights_of(classes: Array, given: Mapping[Any, Any], name: str) -> Array:
    """The given weight of each class, 1 if it has none. ValueError or TypeError names the entry that is wrong."""
    known = classes.tolist()
    unknown = [key for key in given if key not in known]
    if unknown and not given.keys() >= set(known):  # all and more are fine: a part of the data may lack some
        raise ValueError(f"{name} must name classes of y, {known}, got {unknown[0]!r}")
    return np.array([nonnegative_float(f"{name}[{key!r}]", given.get(key, 1.0)) for key in known])


def dense(y: Any) -> Array:
    """Checked targets as an array, (n,) if there is one for each example."""
    y = y.toarray() if issparse(y) else y
    return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def columns(encoded: Array) -> Array:
    """One row for each label."""
    return encoded.T if encoded.ndim == 2 else encoded[np.newaxis]
