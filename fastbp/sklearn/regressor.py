"""MLPRegressor."""

from typing import Any, ClassVar

from numpy.typing import ArrayLike, NDArray
from sklearn import neural_network
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from fastbp import Huber, Loss, Quantile
from fastbp.metrics import r2
from fastbp.sklearn.base import CONSTRAINTS, Perceptron, undone_on_error
from fastbp.sklearn.convert import to_sklearn
from fastbp.sklearn.labels import dense

Array = NDArray[Any]

LOSSES = {
    "squared_error": ("half_squared_error", "identity"),
    "poisson": ("poisson", "exp"),
    "absolute_error": ("absolute_error", "identity"),
    "huber": ("huber", "identity"),
    "quantile": ("quantile", "identity"),
}
"""loss -> (fastbp's name of the loss, scikit-learn's name of the output activation)."""


class MLPRegressor(RegressorMixin, Perceptron):
    """A regressor by a fully connected network: scikit-learn's MLPRegressor, trained by fastbp.

    All parameters, methods and attributes of scikit-learn's, with the same defaults and meaning; in addition, the
    activations, solvers, learning rates, dropout, scoring (None for R²), initial, dtype, n_threads, callbacks and
    verbose of `MLPClassifier`. loss: "absolute_error", "huber" and "quantile" (the median), too, fastbp.Huber(delta),
    fastbp.Quantile(q) or a fastbp.Loss.

    The loss that is minimised is the sum over the outputs, and loss_ reports it; only of squared_error, as in
    scikit-learn, loss_ is the mean over the outputs, ½ mean_j (a_j - y_j)².
    """

    _y_checks: ClassVar[dict[str, Any]] = {"y_numeric": True}
    _parameter_constraints = CONSTRAINTS | {"loss": [StrOptions(set(LOSSES)), Huber, Quantile, Loss]}

    def __init__(
        self,
        loss: Any = "squared_error",
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
    ) -> "MLPRegressor":
        """Train on X (n, n_features), dense or CSR, and y, (n,) or (n, n_outputs), dense or sparse; returns self.

        X_val, y_val: a validation set for early stopping and validation_loss_curve_; None: early_stopping=True holds
        out validation_fraction, with its sample_weight. best_validation_score_ is score(X_val, y_val,
        sample_weight_val) of the best epoch.
        """
        fitted: MLPRegressor = self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return fitted

    @available_if(lambda self: self._check_solver())
    @undone_on_error
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> "MLPRegressor":
        """One epoch on X and y, from the state after the previous calls; returns self.

        With early_stopping=True each call is scored on X_val, y_val; stopped_ becomes True after n_iter_no_change calls
        without improvement, and the best weights are restored.
        """
        fitted: MLPRegressor = self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)
        return fitted

    def _targets(self, y: Any, incremental: bool | None) -> tuple[Array, Array]:
        """(y for the Model, y). incremental=None: a validation set."""
        y = dense(y)
        if isinstance(self.loss, str) and self.loss == "poisson" and (y < 0).any():
            raise ValueError("y must not be negative with loss='poisson', got negative values")
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if incremental is None and outputs != self.n_outputs_:
            raise ValueError(f"y_val must have {self.n_outputs_} outputs, as y, got {outputs}")
        self.n_outputs_ = outputs
        return y, y

    def _output(self) -> str:
        return LOSSES[self.loss][1] if isinstance(self.loss, str) else "identity"

    def _loss(self) -> Any:
        return LOSSES[self.loss][0] if isinstance(self.loss, str) else self.loss

    def predict(self, X: Any) -> Array:
        """The outputs for X: (n,), or (n, n_outputs), of the weights' dtype."""
        return self._decoded(self._outputs(self._inputs(X)))

    def _score_of(self, y: Array, outputs: Array, weights: Array | None) -> float:
        """R², as `score`, without its checks."""
        y = y.reshape(outputs.shape)
        if weights is not None and not weights.all():  # an absent example's outputs may be infinite
            present = weights > 0
            y, outputs, weights = y[present], outputs[present], weights[present]
        return r2(y, outputs, weights)

    def _decoded(self, outputs: Array) -> Array:
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def to_sklearn(self) -> neural_network.MLPRegressor:
        """scikit-learn's estimator with the same parameters and weights, whose predictions are the same up to rounding.

        Parameters and values that scikit-learn does not have are left out; ValueError if it has no such activation.
        """
        return to_sklearn(self, neural_network.MLPRegressor)
