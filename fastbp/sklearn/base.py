"""The common part of both estimators: parameters, fitting, the Model inside, and its weights in scikit-learn's form."""

import functools
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer_names
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp import Activation, Model
from fastbp.engine.thread_limit import limited
from fastbp.initial import NAMES
from fastbp.inputs.arrays import as_weights
from fastbp.inputs.checks import floating_dtype
from fastbp.optimizers import OPTIMIZERS, Optimizer
from fastbp.schedules import SCHEDULES, Schedule
from fastbp.sklearn import networks, solvers
from fastbp.sklearn.lbfgs import minimise
from fastbp.sklearn.rows import Rows, split
from fastbp.sklearn.stochastic import Epochs

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """No callbacks."""


Array = NDArray[Any]

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(networks.HIDDEN)), Activation, list, tuple],
    "solver": [StrOptions({"lbfgs", *OPTIMIZERS}), Optimizer],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({*solvers.SKLEARN_RATES, *SCHEDULES}), Schedule],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose", StrOptions({"progress"})],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "standardize": [StrOptions({"inputs", "both"}), None],
    "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
    "initial": [StrOptions(set(NAMES)), list, tuple, None],
    "dtype": "no_validation",  # type: ignore[dict-item]
    "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    "callbacks": [list, tuple, None],
}


def undone_on_error(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; if it raises, the estimator's attributes are restored."""

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **keywords: Any) -> Any:
        before = dict(vars(self))
        try:
            return method(self, *args, **keywords)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return guarded


class Perceptron(CallbackSupportMixin, BaseEstimator):
    """The common part of MLPClassifier and MLPRegressor; not to be used directly."""

    n_outputs_: int
    _parameter_constraints = CONSTRAINTS
    _y_checks: ClassVar[dict[str, Any]] = {}

    def _set_parameters(self, arguments: dict[str, Any]) -> None:
        """Set each of the constructor's arguments as an attribute of the same name, as scikit-learn requires."""
        for name, value in arguments.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # --- fitting ------------------------------------------------------------------------------------------------

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation: tuple[Any, Any, Any],
        incremental: bool = False,
    ) -> Any:
        """Train on X and y, for one epoch if incremental. validation: X, y and sample_weight, or None."""
        if self.early_stopping and incremental and validation[0] is None:
            raise ValueError("partial_fit does not support early_stopping=True without X_val and y_val")
        if self.solver == "lbfgs" and np.any(self.dropout):
            raise ValueError(f"dropout must be 0 with solver='lbfgs', got {self.dropout!r}")
        if (validation[0] is None) != (validation[1] is None):
            raise ValueError("X_val and y_val must be given together")
        if validation[0] is None and validation[2] is not None:
            raise ValueError("sample_weight_val needs X_val and y_val")
        hidden = networks.hidden_sizes(self)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        rows = self._rows(X, y, sample_weight, incremental, first)
        sizes = [rows.X.shape[1], *hidden, self.n_outputs_]
        held_out = None if validation[0] is None else self._rows(*validation, incremental=None, reset=False)
        rng = self._random_state = check_random_state(self.random_state)
        continues = incremental and hasattr(self, "_optimizer")
        model = self._model_to_train(sizes, rows.X.dtype, rng, first, continues)
        if self.early_stopping and held_out is None and self._is_stochastic():
            rows, held_out = split(self, rows, rng)
        rows = self._weighted(rows, incremental)
        if not continues:
            model.seed = int(rng.randint(networks.SEED_LIMIT))
        if model.standardize and model.scaling is None:
            model.learn_scaling(rows.X, rows.y, rows.weights)
        self._set_model(model)
        if self._is_stochastic():
            limited(self.n_threads, Epochs(self, model, rows, held_out, first, incremental).run)
        else:
            limited(self.n_threads, minimise, self, model, rows, held_out)
        return self

    def _rows(self, X: Any, y: Any, sample_weight: Any, incremental: bool | None, reset: bool) -> Rows:
        """Checked examples as `Model.fit` takes them. incremental=None: a validation set."""
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=self._dtypes(), reset=reset, **self._y_checks
        )
        targets, labels = self._targets(y, incremental)
        if isinstance(sample_weight, Real):
            sample_weight = np.full(X.shape[0], sample_weight)
        name = "sample_weight_val" if incremental is None else "sample_weight"
        return Rows(X, targets, as_weights(sample_weight, X.shape[0], X.dtype, name), labels)

    def _weighted(self, rows: Rows, incremental: bool) -> Rows:
        """The training rows, with class weights applied."""
        return rows

    def _dtypes(self) -> Any:
        return [np.float64, np.float32] if self.dtype is None else floating_dtype(self.dtype)

    def _is_stochastic(self) -> bool:
        return self.solver != "lbfgs"

    def _check_solver(self) -> bool:
        if not self._is_stochastic():
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def _model_to_train(self, sizes: list[int], dtype: Any, rng: Any, first: bool, continues: bool) -> Model:
        if first:
            self.n_layers_, self.out_activation_ = len(sizes), self._output()
            return networks.new_model(self, sizes, dtype, rng)
        trained = self._model()
        if trained.network.sizes != tuple(sizes):
            raise ValueError(
                f"the layers have the sizes {trained.network.sizes}, and the parameters and data now ask for "
                f"{tuple(sizes)}: fit again with warm_start=False"
            )
        if continues:
            return networks.copy_of(trained)  # so that the old one is intact if this call fails
        return networks.model_of(self, sizes, trained.parameters, trained.dtype, scaling=trained.scaling)

    # --- the weights --------------------------------------------------------------------------------------------

    def _set_model(self, model: Model) -> None:
        """Set the fitted Model; coefs_ and intercepts_ become live views of its parameters."""
        self.model_ = model
        self.coefs_, self.intercepts_ = networks.views(model)

    def _model(self) -> Model:
        """The fitted Model with the current coefs_ and intercepts_, which the user may have assigned."""
        model = vars(self).get("model_")
        arrays = [*self.coefs_, *self.intercepts_]
        if model is not None and networks.same_memory(arrays, [*(w.T for w in model.weights), *model.biases]):
            return model
        sizes = [np.shape(self.coefs_[0])[0], *(np.shape(b)[0] for b in self.intercepts_)]
        dtype = np.result_type(*arrays) if model is None else model.dtype
        theta = networks.theta_of(self.coefs_, self.intercepts_, sizes, dtype)
        if model is None or model.network.sizes != tuple(sizes):
            model = networks.model_of(self, sizes, theta, dtype)
        model.parameters = theta
        self._set_model(model)
        return model

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = self._model()
            del state["coefs_"], state["intercepts_"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model_" in state:
            self._set_model(self.model_)

    # --- what the network computes ------------------------------------------------------------------------------

    def _inputs(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)

    def _outputs(self, X: Any, raw: bool = False) -> Array:
        """The outputs a(L), or z(L) if raw, for checked X: (n, n_outputs)."""
        model = self._model()
        if raw:
            network, theta = model.network, model.parameters
            model = Model(
                network.sizes, network.hidden, "identity", bias=network.bias, dtype=model.dtype, initial=theta,
                standardize=model.scaling,
            )  # fmt: skip
        return model.predict(X, n_threads=self.n_threads)

    def input_gradient(self, X: Any) -> Array:
        """∂a_j/∂x_k of the outputs (probabilities of a classifier) with respect to the inputs at each row of X.

        (n, n_features) for one output, else (n, n_outputs, n_features), of the weights' dtype.
        """
        X = self._inputs(X)
        gradient = self._model().input_jacobian(X)
        return gradient[:, 0] if gradient.shape[1] == 1 else gradient

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
