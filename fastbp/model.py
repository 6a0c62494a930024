"""Model: a network with its parameters, loss and optimizer; validates arguments and calls training and storage."""

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp import gradcheck, metrics, plots, summary
from fastbp.activations import Activation, AnyActivation
from fastbp.callbacks import Callback, EarlyStopping, State
from fastbp.core import slots, workspace
from fastbp.custom_loss import Loss
from fastbp.derivatives import Derivatives, check_activations
from fastbp.engine import inference
from fastbp.engine.derivatives import embedded
from fastbp.engine.network_table import aligned_zeros, diagnostic_table, embedded_table
from fastbp.engine.problem import Problem, problem_of
from fastbp.engine.state import TrainingState, optimizer_arrays
from fastbp.engine.thread_limit import limited
from fastbp.engine.trace import Backward, Forward, Trace
from fastbp.history import History
from fastbp.initial import Initial
from fastbp.inputs.arrays import as_inputs, as_vector, as_whole_inputs
from fastbp.inputs.checks import boolean, positive_int
from fastbp.inputs.classes import ClassWeight, classes_of
from fastbp.inputs.targets import smoothing_of
from fastbp.losses import AnyLoss
from fastbp.optimizers import Optimizer
from fastbp.storage import files
from fastbp.storage.model_state import custom_objects, custom_objects_in, for_file, from_state, to_state
from fastbp.training import prepare
from fastbp.training.checkpoint import interrupted
from fastbp.training.options import Options
from fastbp.training.single_step import SingleSteps

Array = NDArray[Any]
MOST_ROWS = 1 << 40  # of a workspace: its size is a number of 63 bits
Custom = Activation | Loss | Sequence[Activation | Loss] | Mapping[str, Activation | Loss]


class Model(Derivatives):
    """A fully-connected network that trains by backpropagation on the CPU.

    sizes: neurons of each layer, inputs first.
    hidden: an activation (a name or a `fastbp.Activation`), or one for each hidden layer.
    output: an activation or "softmax"; None: "softmax" for cross_entropy and kullback_leibler, "sigmoid" for
    binary_cross_entropy, "exponential" for poisson, else "identity".
    loss: a name or an object, see `fastbp.losses`; None: the one that suits the output. These four take logarithms of
    the outputs: cross_entropy and kullback_leibler need values in (0, 1], binary_cross_entropy in (0, 1), poisson above
    0, and refuse an output that may have others. A `fastbp.Activation` is trusted to have none.
    dtype: float32 or float64.
    seed: of the initial parameters, of shuffling and of dropout.
    initial: a name, or arrays (see `Network.initial`).
    reduction: the cost is the weighted average of the examples' losses ("mean") or their weighted sum ("sum"). Weights
    are not negative; for the sum, `step`, `value_and_gradient` and `backward` take negative ones as well.
    l1, l2: in `fit`, `step`, their costs and `value_and_gradient`, l1 Σ|w| + ½ l2 Σ w² over the weights, not the
    biases, is added to the cost of a mini-batch; `evaluate` and validation costs are of the data alone.
    dropout: the fraction p of units, in [0, 1), that a hidden layer drops in training, or one for each hidden
    layer: a_j ← a_j m_j / (1 - p), m_j = 0 with probability p, else 1, drawn for each example and epoch
    (Srivastava et al., JMLR 2014). Only `fit`, `step` and their costs drop units.
    label_smoothing: the share ε in [0, 1) of each target that training and gradients spread evenly over the classes,
    y (1 - ε) + ε / K, for cross_entropy (K outputs) and binary_cross_entropy (K = 2); `evaluate` takes y as it is.

    Validates every argument: ValueError or TypeError name it, the expected value and the actual one.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: AnyActivation | Sequence[AnyActivation] = "relu",
        output: AnyActivation | None = None,
        loss: AnyLoss | None = None,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        seed: int = 0,
        initial: Initial = "auto",
        reduction: str = "mean",
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        problem = problem_of(
            sizes, hidden, output, loss, bias, dtype, seed, reduction, l1, l2, dropout, label_smoothing
        )  # fmt: skip
        theta = problem.network.initial(initial, problem.seed, problem.dtype)
        self._set_up(problem, TrainingState.begin(theta))

    def _set_up(self, problem: Problem, state: TrainingState) -> None:
        (
            self.network, self.dtype, self.loss, self.reduction, self.seed,
            self.l1, self.l2, self.dropout, self.label_smoothing,
        ) = problem  # fmt: skip
        self._state, self._single_steps = state, SingleSteps()

    @property
    def _problem(self) -> Problem:
        """The model's attributes, as training and storage take them."""
        return Problem(
            self.network, self.dtype, self.loss, self.reduction, self.seed,
            self.l1, self.l2, self.dropout, self.label_smoothing,
        )  # fmt: skip

    @property
    def optimizer(self) -> Optimizer:
        """Of the last `fit` or `step`; at first Adam()."""
        return self._state.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        self._state.optimizer = optimizer

    # --- parameters ---------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> Array:
        """theta, live: w(1), b(1), …, w(L), b(L) in one vector; element k * n_out + j of a weight block is w_jk."""
        return self._state.theta

    @parameters.setter
    def parameters(self, theta: ArrayLike) -> None:
        self.parameters[:] = as_vector(theta, self.parameters.size, self.dtype, "parameters")

    @property
    def weights(self) -> tuple[Array, ...]:
        """w_jk of each layer, (n_out, n_in): live views into the parameters."""
        return self.network.weights(self.parameters)

    @property
    def biases(self) -> tuple[Array, ...]:
        """b_j of each layer, (n_out,): live views into the parameters."""
        return self.network.biases(self.parameters)

    # --- training -----------------------------------------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: str | Optimizer | None = None,
        validation_data: tuple[ArrayLike, ...] | None = None,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        n_threads: int | None = None,
        progress: bool = False,
        *,
        callbacks: Sequence[Callback | Callable[[State], Any]] = (),
        early_stopping: EarlyStopping | None = None,
        validation_fraction: float | None = None,
        metrics: Sequence[str | Callable[..., float]] = (),
        class_weight: ClassWeight | None = None,
        initial_epoch: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int | None = None,
    ) -> History:
        """Train on X (n, n_inputs) and y; return the History of this call's epochs.

        X: an array of any dtype and layout, a memmap, a SciPy sparse matrix, a pandas or polars frame (the names of its
        columns are not kept). Large inputs that need conversion are read in pieces: see docs/layout.md.
        Continues from the current parameters, optimizer state and epoch. optimizer: an object or a name; None keeps
        the current one (at first Adam()); one of another kind starts with a new state. n_threads: the most threads,
        capped by the cores; None for as many as make it faster, within the limit of the program (`fastbp.set_threads`,
        `fastbp.thread_limit`) or of its environment; results are bit-identical for any number. progress: a bar on
        stderr, lines in a log file.

        validation_data: (X, y) or (X, y, sample_weight), whose cost is taken after each epoch. validation_fraction:
        holds out this share of the rows instead, of each class alike, drawn by the model's seed. metrics: "accuracy",
        "r2", "mean_absolute_error" or functions (y_true, y_pred) -> float (sample_weight too if they take it), of
        the validation data after each epoch, or of the training data. class_weight: "balanced" or {class: weight};
        multiplies the sample_weight of the rows trained on. callbacks: functions of the `State`, called after each
        epoch, or `Callback` objects; one that returns True stops the training. early_stopping: see `EarlyStopping`.
        initial_epoch: the epochs trained already, which decide on the shuffling; training then ends after `epochs`
        in all. None: after `epochs` more than the model has seen.

        checkpoint: a file that keeps the run, written at its beginning, after each `every` epochs (None: 1) and at its
        end; see `Model.resume`.

        Ctrl-C stops after the mini-batch under way: KeyboardInterrupt, the model is consistent. FloatingPointError
        if training diverges; each parameter keeps its last finite value.
        """
        given = {name: value for name, value in locals().items() if name in FIT_DEFAULTS}
        return prepare.fit(self._problem, self._state, X, y, Options(FIT_DEFAULTS, given), self)

    def step(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        optimizer: str | Optimizer | None = None,
        n_threads: int | None = None,
    ) -> float:
        """Train on one mini-batch: X (n, n_inputs) and y; return its cost before the update, as `fit` records it.

        For loops that generate their data, as in reinforcement learning. Bit-identical to fit with epochs=1,
        batch_size=n and shuffle=False, without the overhead of a call of fit; it counts as an epoch. The others are
        fit's arguments.

        Ctrl-C: KeyboardInterrupt, the model is consistent and counts the step if it was made.
        FloatingPointError if training diverges; each parameter keeps its last finite value.
        """
        return self._single_steps.step(self._problem, self._state, X, y, sample_weight, optimizer, n_threads)

    def apply_gradient(
        self, gradient: ArrayLike, cost: float | None = None, optimizer: str | Optimizer | None = None
    ) -> None:
        """Make the optimizer's step with a given gradient, ordered like the parameters.

        State, schedule, clipping and counting are those of `step`: with the gradient of `value_and_gradient` it is
        bit-identical to step, except with dropout and with plain SGD on 4 examples or fewer, which rounds differently.
        l1 and l2 are not added: the gradient of `value_and_gradient` has them. cost: of the same epoch, which the
        schedule OnPlateau needs.

        FloatingPointError if a parameter would become NaN or infinite; each keeps its last finite value.
        """
        self._single_steps.apply_gradient(self._problem, self._state, gradient, cost, optimizer)

    # --- what the network computes ------------------------------------------------------------------------------

    def predict(self, X: ArrayLike, theta: ArrayLike | None = None, n_threads: int | None = None) -> Array:
        """The outputs a(L) for X (n, n_inputs), at theta (None: the model's parameters).

        A new (n, n_outputs) array of the model's dtype. n_threads: as of `fit`.
        """
        return limited(n_threads, self._predict, X, theta)

    def _predict(self, X: ArrayLike, theta: ArrayLike | None) -> Array:
        inputs = as_inputs(X, self.network.n_inputs, self.dtype, finite=False)
        outputs, finite = inference.predict(self.network, self._at(theta), inputs)
        if not finite:
            as_inputs(X, self.network.n_inputs, self.dtype)  # says where
        return outputs

    def evaluate(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, n_threads: int | None = None
    ) -> dict[str, float]:
        """{"cost": …} over the examples, and "accuracy" for classes: see `fastbp.metrics.hits`.

        n_threads: as of `fit`.
        """
        return limited(n_threads, self._evaluate, X, y, sample_weight)

    def _evaluate(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> dict[str, float]:
        problem = self._problem
        examples = problem.examples(X, y, sample_weight)
        cost = {"cost": problem.cost(self.parameters, examples)}
        if not metrics.has_classes(self.network, self.loss):
            return cost
        outputs, _ = inference.predict(self.network, self.parameters, examples.X)
        hits = metrics.hits(self.network, self.loss, examples.y, outputs)
        return cost | {"accuracy": float(np.average(np.asarray(hits), weights=examples.weights))}

    def plot(self, X: ArrayLike, y: ArrayLike, axes: Any = None) -> Any:
        """Draw a confusion matrix where y holds classes, else predictions over truth; return matplotlib's axes.

        axes: None for new ones, of pyplot. ImportError without matplotlib.
        """
        examples = self._problem.examples(X, y, None)
        classes = classes_of(examples.y, self.network.output, self.loss)
        return plots.predictions(examples.y, self.predict(X), classes, axes)

    def summary(self) -> str:
        """A table of the layers, their neurons, activations and parameters, and the memory of them all."""
        return summary.table(self._problem, self._state)

    def value_and_gradient(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        theta: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> tuple[float, Array]:
        """The cost and its gradient, ordered like the parameters, at theta (None: the model's parameters).

        n_threads: as of `fit`.
        """
        return limited(n_threads, self._value_and_gradient, X, y, sample_weight, theta)

    def _value_and_gradient(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, theta: ArrayLike | None
    ) -> tuple[float, Array]:
        problem = self._problem
        return problem.value_and_gradient(self._at(theta), problem.examples(X, y, sample_weight, whole=True))

    def forward(self, X: ArrayLike) -> Forward:
        """All z and a for X: Forward(z, a), one (n, n_out) array a layer, a[0] being X."""
        X = as_whole_inputs(X, self.network.n_inputs, self.dtype)
        trace = Trace(diagnostic_table(self.network, self.dtype.itemsize, None), self.parameters, X)
        return Forward(trace.arrays(slots.Layer.z), [X, *trace.arrays(slots.Layer.a)])

    def backward(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Backward:
        """∂C/∂z and ∂C/∂a of the cost over X, y, by the chain rule: Backward(dz, da), one (n, n_out) array a layer."""
        problem = self._problem
        examples = problem.smoothed(problem.examples(X, y, sample_weight, whole=True))
        net = diagnostic_table(self.network, self.dtype.itemsize, problem.objective(examples.y.ndim == 1))
        assert isinstance(examples.X, np.ndarray)
        trace = Trace(net, self.parameters, examples.X)
        trace.backward(self.network, examples, 1 / examples.total_weight if problem.mean else 1.0)
        return Backward(trace.arrays(slots.Layer.dz), trace.arrays(slots.Layer.da))

    def check_gradient(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> gradcheck.GradientCheck:
        """Compare the gradient at the parameters with central differences, every parameter, in float64."""
        theta = as_vector(self.parameters, self.parameters.size, self.dtype, "parameters").astype(np.float64)
        problem = self._problem._replace(dtype=theta.dtype)
        examples = problem.examples(X, y, sample_weight, whole=True)
        return gradcheck.check(lambda at: problem.value_and_gradient(at, examples), theta)

    # --- inside other compiled code -----------------------------------------------------------------------------

    def compiled(self, *derivatives: str | bool | None, classes: bool | None = None) -> NDArray[np.int64]:
        """The int64 table with which `fastbp.jit` runs this network, in this process.

        It describes the network and holds no parameters: pass `model.parameters` as theta for the live ones, a copy
        for a snapshot. derivatives: the names of the functions of `fastbp.jit` beside predict and value_and_gradient
        that it is for, such as "vjp"; "apply_gradient" by the model's present optimizer. classes: whether y will hold
        class indices, as it may for cross_entropy (None: it will there); also as the first argument.
        """
        if derivatives and (derivatives[0] is None or isinstance(derivatives[0], bool)):
            classes, derivatives = derivatives[0], derivatives[1:]
        names = self._names_of_derivatives(derivatives)
        has_indices = self.loss == "cross_entropy"
        if classes is not None and boolean("classes", classes) and not has_indices:
            raise ValueError(f"classes must be False or None for the loss {self.loss!r}, got {classes}")
        objective = self._problem.objective(has_indices if classes is None else bool(classes))
        smoothing = None
        if self.label_smoothing:
            smoothing = smoothing_of(self.loss, self.label_smoothing, self.network.n_outputs)
        net = embedded_table(self.network, self.dtype.itemsize, objective, smoothing)
        return embedded.with_derivatives(net, names, self.network, objective, self.optimizer) if names else net

    def workspace(self, rows: int = 1, *derivatives: str) -> Array:
        """Memory for one thread's calls of `fastbp.jit` with up to `rows` rows; for these derivatives, too."""
        net = self.compiled()
        net[slots.Net.target_row] = self.network.n_outputs  # enough for class indices, too
        if positive_int("rows", rows) > MOST_ROWS:
            raise ValueError(f"rows must be at most {MOST_ROWS}, got {rows}")
        names, objective = (
            self._names_of_derivatives(derivatives),
            self._problem.objective(self.loss == "cross_entropy"),
        )
        of_names = embedded.workspace_size(names, self.network, self.dtype.itemsize, objective, rows) if names else 0
        return aligned_zeros(max(int(workspace.largest_size(net, rows)), of_names), self.dtype)

    def _names_of_derivatives(self, derivatives: Sequence[object]) -> tuple[str, ...]:
        names = embedded.checked(derivatives)
        for name in names:
            if name in embedded.SECOND:
                check_activations(self.network, name, "second")
        return names

    def optimizer_state(self, steps: int = 1) -> tuple[Array, NDArray[np.float64]]:
        """(moments, settings) for `fastbp.jit.apply_gradient`: copies, which continue from the model's own steps.

        moments: the optimizer's vectors like the parameters, one after the other; settings: a row for each of the next
        `steps` steps, the learning rate first, as the schedule gives them. ValueError for schedules that depend on the
        cost, and for clip_norm, which the caller would have to apply.
        """
        return optimizer_arrays(self._state, positive_int("steps", steps))

    # --- files --------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model with its optimizer's state to a safetensors file, which replaces an older one whole.

        The older file's mode stays. Writes through a character device or a pipe. OSError if the file cannot be
        written; ValueError, before it is touched, for a model that `load` would refuse, as with infinite parameters.
        """
        description, tensors = for_file(self._problem, self._state)
        files.write(path, tensors, {"model": description})

    @classmethod
    def load(cls, path: str | os.PathLike[str], custom: Custom = ()) -> "Model":
        """The model that `save` wrote: bit-identical, and fit continues. ValueError for any other file, OSError for a
        pipe or a device.

        custom: the custom activations and losses in the model, of which the file has the names: one, several, or a dict
        of them. LookupError if one is missing.
        """
        return cls._read(path, custom)[0]

    @classmethod
    def resume(cls, path: str | os.PathLike[str], custom: Custom = ()) -> "Model":
        """The model of a checkpoint, whose next `fit` continues the interrupted run, bit-identically.

        Pass that fit the same data, validation data, sample weights and callbacks; it returns the History of the whole
        run, and takes its other arguments from the file. ValueError where they contradict it, and for a file without a
        run. custom: as for `load`.
        """
        model, tensors, metadata = cls._read(path, custom)
        model._state.resumed = interrupted(path, tensors, metadata)
        return model

    @classmethod
    def _read(cls, path: str | os.PathLike[str], custom: Custom) -> tuple["Model", dict[str, Array], dict[str, str]]:
        tensors, metadata = files.read(path)
        try:
            problem, state = from_state(dict(json.loads(metadata["model"])), tensors, custom_objects(custom))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise files.not_a_model(path, error) from error
        model = cls.__new__(cls)
        model._set_up(problem, state)
        return model, tensors, metadata

    def __getstate__(self) -> tuple[dict[str, Any], dict[str, Array], list[Activation | Loss]]:
        problem = self._problem
        return *to_state(problem, self._state), custom_objects_in(problem)

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Array], list[Activation | Loss]]) -> None:
        self._set_up(*from_state(*state))

    def __repr__(self) -> str:
        network = self.network
        hidden = f", hidden={network.hidden}" if network.hidden else ""
        bias = "" if network.bias else ", bias=False"
        dropout = f", dropout={self.dropout}" if any(self.dropout) else ""
        return (
            f"Model({network.sizes}{hidden}, output={network.output!r}, loss={self.loss!r}{bias}, "
            f"dtype={self.dtype.name!r}{dropout}): {network.n_parameters} parameters, "
            f"{self._state.epochs} epochs and {self._state.updates} steps trained with {self.optimizer}"
        )

    # --- the training state, for tests --------------------------------------------------------------------------

    _moments = property(lambda self: self._state.moments)
    _updates = property(lambda self: self._state.updates)
    _epochs = property(lambda self: self._state.epochs)
    _progress = property(lambda self: self._state.schedule)
    _stepper = property(lambda self: self._single_steps.stepper)

    def _at(self, theta: ArrayLike | None) -> Array:
        return self.parameters if theta is None else as_vector(theta, self.parameters.size, self.dtype, "theta")


FIT_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(Model.fit).parameters.items()
    if name not in ("self", "X", "y")
}
