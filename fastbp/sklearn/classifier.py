"""MLPClassifier."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix, issparse
from sklearn import neural_network
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from fastbp.inputs.arrays import as_weights
from fastbp.sklearn.base import CONSTRAINTS, Perceptron, undone_on_error
from fastbp.sklearn.convert import to_sklearn
from fastbp.sklearn.labels import ClassWeights, Labels, dense
from fastbp.sklearn.rows import Rows

Array = NDArray[Any]


class MLPClassifier(ClassifierMixin, Perceptron):
    """A classifier by a fully connected network: scikit-learn's MLPClassifier, trained by fastbp.

    All parameters, methods and attributes of scikit-learn's, with the same defaults and meaning, and in addition:

    activation: any activation of fastbp, or a list of one for each hidden layer. solver: any optimizer of fastbp by its
    name (at learning_rate_init, otherwise with its own defaults) or as an object (with its own learning rate).
    learning_rate: any schedule of fastbp, too, by its name (from learning_rate_init, over max_iter epochs) or as an
    object, for any solver by name but lbfgs. dropout: the fraction of hidden units that are dropped in training, or
    one fraction for each hidden layer. standardize: "inputs" for a network that scales its inputs by the mean and the
    standard deviation of the training rows, as of `fastbp.Model`. class_weight: "balanced", a dict {class: weight}, or
    a list of dicts for several labels; as in `fastbp.Model.fit`, it multiplies the sample_weight of the rows trained
    on, never that of validation data; "balanced" counts the rows trained on, with partial_fit those of all calls.
    scoring: what early stopping monitors: None for accuracy, "loss", or any scorer of scikit-learn, which gets the
    classes of the training data if its function takes `labels`. initial: a name of fastbp's initial weights, or (coefs,
    intercepts) in the shapes of coefs_ and intercepts_. dtype: None for that of X, else float32 or float64. n_threads:
    None to choose, within joblib's share. callbacks: functions of a `fastbp.State`, called after each epoch, or
    `fastbp.Callback` objects; one that returns True stops the training; scikit-learn's are set by set_callbacks.
    verbose="progress": a bar instead of lines.

    After fit, model_ is the fastbp Model, of whose parameters coefs_ and intercepts_ are live views. With a
    validation set (early_stopping, or X_val and y_val) validation_loss_curve_ holds its loss after each epoch.
    A call that raises leaves the estimator as it was. Results are the same bits for any number of threads.
    """

    loss = "log_loss"
    _sparse_y = False
    _class_weights: ClassWeights | None = None
    _parameter_constraints = CONSTRAINTS | {"class_weight": [StrOptions({"balanced"}), dict, list, None]}

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        dropout: Any = 0.0,
        standardize: str | None = None,
        scoring: Any = None,
        initial: Any = None,
        dtype: Any = None,
        n_threads: int | None = None,
        callbacks: Any = None,
    ) -> None:
        self._set_parameters(locals())

    @undone_on_error
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> "MLPClassifier":
        """Train on X (n, n_features), dense or CSR, and y: (n,) classes, or (n, labels) of 0 and 1; returns self.

        A sparse y means the same as a dense one, but predict is sparse then, too, as in scikit-learn.
        X_val, y_val: a validation set for early stopping and validation_loss_curve_; None: early_stopping=True holds
        out validation_fraction, with its sample_weight. best_validation_score_ is score(X_val, y_val,
        sample_weight_val) of the best epoch: class_weight applies to the training rows only.
        """
        fitted: MLPClassifier = self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return fitted

    @available_if(lambda self: self._check_solver())
    @undone_on_error
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> "MLPClassifier":
        """One epoch on X and y, from the state after the previous calls; returns self.

        classes: all classes of all calls, required in the first call; for several labels np.arange(labels), the column
        indices of y. With early_stopping=True each call is scored on X_val, y_val; stopped_ becomes True after
        n_iter_no_change calls without improvement, and the best weights are restored.
        """
        if hasattr(self, "classes_"):
            if classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
                )
        elif classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        elif "multilabel" not in type_of_target(y):
            self._set_labels(Labels.from_classes(unique_labels(classes)))
        elif not np.array_equal(unique_labels(classes), np.arange(columns := np.shape(y)[1])):
            raise ValueError(
                f"classes must be np.arange({columns}), the column indices of y, for several labels, got {classes!r}"
            )
        fitted: MLPClassifier = self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)
        return fitted

    # --- targets ------------------------------------------------------------------------------------------------

    def _set_labels(self, labels: Labels, sparse: bool = False) -> None:
        self._labels, self.classes_ = labels, labels.classes
        self._sparse_y, self._class_weights = sparse and labels.is_multilabel, None
        self.n_outputs_ = labels.n_outputs

    def _targets(self, y: Any, incremental: bool | None) -> tuple[Array, Array]:
        """(y for the Model, y). Sets the classes, or checks them against the known ones.

        incremental=None: a validation set, which may lack some.
        """
        sparse, y = issparse(y), dense(y)
        if not hasattr(self, "classes_") or (incremental is False and not self.warm_start):
            self._set_labels(Labels.from_targets(y), sparse)
        else:
            classes = unique_labels(y)
            if self.warm_start and incremental is not None and set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {classes}"
                )
            if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
                )
            self._labels.check(y, "y_val" if incremental is None else "y")
        return self._labels.encode(y), y

    def _weighted(self, rows: Rows, incremental: bool) -> Rows:
        if self.class_weight is None:
            return rows
        before, known = ClassWeights.empty(self.class_weight, self._labels), self._class_weights
        if incremental and known is not None:
            before = replace(before, counts=known.counts)
        self._class_weights = before.counting(rows.y)
        weights = self._class_weights.example_weights(rows.y) * (1 if rows.weights is None else rows.weights)
        return replace(rows, weights=as_weights(weights, len(rows), rows.X.dtype, "sample_weight by class_weight"))

    def _output(self) -> str:
        return "softmax" if self._labels.kind == "multiclass" else "logistic"

    def _loss(self) -> str:
        return "cross_entropy" if self.out_activation_ == "softmax" else "binary_cross_entropy"

    def _score_of(self, y: Array, outputs: Array, weights: Array | None) -> float:
        """The accuracy, as `score`, without its checks."""
        hits = self._decoded(outputs) == y
        return float(np.average(hits.all(axis=1) if hits.ndim == 2 else hits, weights=weights))

    def _decoded(self, outputs: Array) -> Array:
        return self._labels.decode(outputs)

    # --- predictions --------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """The classes of X: (n,), or (n, labels) of 0 and 1, a csr_matrix if y was sparse in fit."""
        labels = self._decoded(self._outputs(self._inputs(X)))
        return csr_matrix(labels) if self._sparse_y else labels

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, classes), in the order of classes_."""
        outputs = self._outputs(self._inputs(X))
        return np.hstack([1 - outputs, outputs]) if self.n_outputs_ == 1 else outputs

    def predict_log_proba(self, X: Any) -> Array:
        """log(predict_proba(X))."""
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(probabilities, out=probabilities)

    def decision_function(self, X: Any) -> Array:
        """The outputs z before their activation: (n,) for two classes, else (n, classes or labels).

        Two classes: log p / (1 - p) of classes_[1], positive where predict returns it; each of several labels likewise.
        More classes: log p plus a number that depends on the row, so that a column does not rank the rows as p does.
        scikit-learn's own MLPClassifier has no decision_function. CalibratedClassifierCV and the scorers roc_auc,
        average_precision and top_k_accuracy prefer it to predict_proba; for a subclass with `decision_function = None`
        they use predict_proba.
        """
        z = self._outputs(self._inputs(X), raw=True)
        return z.ravel() if self.n_outputs_ == 1 else z

    def to_sklearn(self) -> neural_network.MLPClassifier:
        """scikit-learn's estimator with the same parameters and weights, whose predictions are the same up to rounding.

        Parameters and values that scikit-learn does not have are left out; ValueError if it has no such activation.
        """
        return to_sklearn(self, neural_network.MLPClassifier)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
