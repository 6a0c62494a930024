"""Class labels as numbers, and the weights of classes."""

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
    def of(cls, y: Array) -> "Labels":
        """Those that y holds; ValueError with scikit-learn's message if they are not classes."""
        kind = type_of_target(y, input_name="y")
        check_classification_targets(y)
        if "multioutput" in kind:
            raise ValueError("Multioutput target data is not supported with label binarization")
        if kind == "multilabel-indicator":
            return cls(kind, np.arange(y.shape[1]))
        return cls.named(unique_labels(y))

    @classmethod
    def named(cls, classes: Array) -> "Labels":
        """One label of these classes for each example."""
        return cls("binary" if len(classes) <= 2 else "multiclass", classes)

    @property
    def several(self) -> bool:
        """Whether an example has several labels, not one class."""
        return self.kind == "multilabel-indicator"

    def check(self, y: Array, name: str) -> None:
        """ValueError unless y has one label for each example, or a column for each of several."""
        columns = (len(self.classes),) if self.several else ()
        if y.shape[1:] != columns:
            expected = f"(n, {columns[0]}), 0 and 1 for each label" if columns else "(n,), one class for each example"
            raise ValueError(f"{name} must have shape {expected}, got shape {y.shape}")

    @property
    def n_outputs(self) -> int:
        """Outputs of a network for them."""
        return 1 if self.kind == "binary" else len(self.classes)

    def encode(self, y: Array) -> Array:
        """Class numbers (n,) for one label each, else 0 and 1, (n, labels)."""
        if self.several:
            return (y != 0).astype(np.int8)
        return np.searchsorted(self.classes, y)

    def indicators(self, encoded: Array) -> Array:
        """Whether each example has each class or label: (n, classes)."""
        return encoded == 1 if self.several else encoded[:, np.newaxis] == np.arange(len(self.classes))

    def decode(self, outputs: Array) -> Array:
        """The labels that outputs (n, n_outputs) of a network mean."""
        if self.several:
            return (outputs > 0.5).astype(int)
        if self.kind == "binary":
            return self.classes[(outputs.ravel() > 0.5).astype(int) * (len(self.classes) - 1)]
        return self.classes[outputs.argmax(axis=1)]


@dataclass(frozen=True)
class ClassWeights:
    """Weights of examples by their classes: given ones, or "balanced" by all examples counted up to now."""

    class_weight: Any
    counts: list[Array]  # examples of each class; for several labels one array for each
    given: list[Array]

    @classmethod
    def none_seen(cls, class_weight: Any, labels: Labels) -> "ClassWeights":
        """Before the first example; ValueError if class_weight does not suit the labels."""
        several = labels.several
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

    def after(self, encoded: Array) -> "ClassWeights":
        """With these examples counted, too."""
        counts = [
            count + np.bincount(column, minlength=len(count))
            for count, column in zip(self.counts, columns(encoded), strict=True)
        ]
        return ClassWeights(self.class_weight, counts, self.given)

    @property
    def weights(self) -> list[Array]:
        """Of each class: if balanced n / (classes that occur * examples of it), as compute_class_weight has it."""
        return self.given or [
            np.divide(count.sum() / np.count_nonzero(count), count, out=np.ones(len(count)), where=count > 0)
            for count in self.counts
        ]

    def of(self, encoded: Array) -> Array:
        """The weight of each example: the product over its labels."""
        factors = [weights[column] for weights, column in zip(self.weights, columns(encoded), strict=True)]
        product: Array = np.prod(factors, axis=0)
        return product


def weights_of(classes: Array, given: Mapping[Any, Any], name: str) -> Array:
    """The given weight of each class, 1 if it has none. ValueError or TypeError names the entry that is wrong."""
    known = classes.tolist()
    strange = [key for key in given if key not in known]
    if strange and not given.keys() >= set(known):  # all of them and more: as a part of the data may lack a class
        raise ValueError(f"{name} must name classes of y, {known}, got {strange[0]!r}")
    return np.array([nonnegative_float(f"{name}[{key!r}]", given.get(key, 1.0)) for key in known])


def dense(y: Any) -> Array:
    """Checked targets as an array, (n,) if there is one for each example."""
    y = y.toarray() if issparse(y) else y
    return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def columns(encoded: Array) -> Array:
    """One row for each label."""
    return encoded.T if encoded.ndim == 2 else encoded[np.newaxis]
