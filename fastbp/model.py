"""Model: a network with its parameters, loss and optimizer; validates arguments and calls training and storage."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp import evaluation, summary
from fastbp.activations import Activation, AnyActivation
from fastbp.callbacks import Callback, EarlyStopping, State
from fastbp.custom_loss import Loss
from fastbp.derivatives import Derivatives
from fastbp.engine.problem import Problem, as_trainable, problem_of
from fastbp.engine.state import TrainingState, optimizer_arrays
from fastbp.engine.thread_limit import limited
from fastbp.engine.trace import Backward, Forward
from fastbp.gradcheck import GradientCheck
from fastbp.history import History
from fastbp.initial import Initial
from fastbp.inputs.arrays import as_vector
from fastbp.inputs.checks import positive_int
from fastbp.inputs.classes import ClassWeight
from fastbp.losses import AnyLoss
from fastbp.network import with_scaling
from fastbp.optimizers import Optimizer
from fastbp.scaling import Scaling
from fastbp.storage import files
from fastbp.storage.model_state import custom_objects_in, for_file, from_state, read, to_state
from fastbp.training import prepare
from fastbp.training.checkpoint import interrupted
from fastbp.training.options import Options
from fastbp.training.single_step import SingleSteps

Array = NDArray[Any]
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
    standardize: "inputs": the network takes (x - mean) / scale of each input; "both": its outputs are those of
    (y - mean) / scale of each target as well, for the losses of differences with the output identity. Mean and scale
    are the weighted average and standard deviation of the first fit's training rows (1 for a constant column; sparse
    inputs keep the mean 0); or a `fastbp.Scaling`. X, y, predictions and metrics are in raw units; parameters,
    penalties, z and a of `forward`, and every cost (and a Huber loss's δ) are those of the standardized network.

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
        standardize: str | Scaling | None = None,
    ) -> None:
        given, kind = (standardize, standardize.kind) if isinstance(standardize, Scaling) else (None, standardize)
        problem = problem_of(
            sizes, hidden, output, loss, bias, dtype, seed, reduction, l1, l2, dropout, label_smoothing,
            kind,
        )  # fmt: skip
        theta = problem.network.initial(initial, problem.seed, problem.dtype)
        self._set_up(problem, TrainingState.begin(theta))
        if given is not None:
            self.scaling = given

    def _set_up(self, problem: Problem, state: TrainingState) -> None:
        (
            self.network, self.dtype, self.loss, self.reduction, self.seed,
            self.l1, self.l2, self.dropout, self.label_smoothing, self.standardize, self._trainable,
        ) = problem  # fmt: skip
        self._state, self._single_steps = state, SingleSteps()

    @property
    def _stated_problem(self) -> Problem:
        """The model's attributes, as training and storage take them."""
        network, scaling = self.network, self._state.scaling
        return Problem(
            network if scaling is None else with_scaling(network, scaling), self.dtype, self.loss, self.reduction,
            self.seed, self.l1, self.l2, self.dropout, self.label_smoothing, self.standardize, self._trainable,
        )  # fmt: skip

    @property
    def _problem(self) -> Problem:
        """The same, ready to compute. ValueError while a scaling is still to be learned."""
        problem = self._stated_problem
        problem.check_ready()
        return problem

    @property
    def scaling(self) -> Scaling | None:
        """Means and scales of inputs and outputs: see `standardize`. None before the first fit, which learns them.

        Set it to statistics of your own, or to None: the next fit learns them again.
        """
        return self._state.scaling

    @scaling.setter
    def scaling(self, scaling: Scaling | None) -> None:
        if scaling is not None:
            self._stated_problem.check_scaling(scaling)
        self._state.scaling = scaling

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
    def moments(self) -> Array:
        """The optimizer's state, live: vectors ordered like the parameters, one after the other; empty at first."""
        return self._state.moments

    @property
    def weights(self) -> tuple[Array, ...]:
        """w_jk of each layer, (n_out, n_in): live views into the parameters."""
        return self.network.weights(self.parameters)

    @property
    def biases(self) -> tuple[Array, ...]:
        """b_j of each layer, (n_out,): live views into the parameters."""
        return self.network.biases(self.parameters)

    def learn_scaling(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Scaling:
        """Learn means and scales from these rows now, as the first fit would, and return them.

        For a model with `standardize`; y is needed for "both". For loops of `step`, which know no training set.
        """
        self._state.scaling = self._stated_problem.scaling_of(X, y, sample_weight)
        return self._state.scaling

    @property
    def trainable(self) -> tuple[bool, ...]:
        """One for each layer: False freezes its weights and biases in fit, step, apply_gradient and every solver.

        Their gradient is 0, and no deltas are computed below the lowest layer that is True.
        """
        return self._trainable or (True,) * self.network.n_layers

    @trainable.setter
    def trainable(self, trainable: Sequence[bool]) -> None:
        self._trainable = as_trainable(trainable, self.network.n_layers)

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
        dy: ArrayLike | None = None,
        derivative_weight: float = 1.0,
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

        dy: derivatives to learn beside the values, (n, n_outputs, n_inputs): dy_njk = ∂y_nj/∂x_nk, NaN where unknown.
        derivative_weight λ: the cost of an example is then loss + λ Σ_jk (∂y_nj/∂x_nk - dy_njk)², of the standardized
        network if there is a scaling (Czarnecki et al., NeurIPS 2017). ValueError for activations of straight pieces
        such as relu.

        Ctrl-C stops after the mini-batch under way: KeyboardInterrupt, the model is consistent. FloatingPointError
        if training diverges; each parameter keeps its last finite value.
        """
        given = {name: value for name, value in locals().items() if name in FIT_DEFAULTS}
        return prepare.fit(self._stated_problem, self._state, X, y, Options(FIT_DEFAULTS, given), self)

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
        network = self.network if self.standardize is None else self._problem.network
        return limited(n_threads, evaluation.predict, network, self.parameters, X, theta)

    def evaluate(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, n_threads: int | None = None
    ) -> dict[str, float]:
        """{"cost": …} over the examples, and "accuracy" for classes: see `fastbp.metrics.hits`.

        n_threads: as of `fit`.
        """
        return limited(n_threads, evaluation.evaluate, self._problem, self.parameters, X, y, sample_weight)

    def plot(self, X: ArrayLike, y: ArrayLike, axes: Any = None) -> Any:
        """Draw a confusion matrix where y holds classes, else predictions over truth; return matplotlib's axes.

        axes: None for new ones, of pyplot. ImportError without matplotlib.
        """
        return evaluation.plot(self._problem, self.predict, X, y, axes)

    def summary(self) -> str:
        """A table of the layers, their neurons, activations and parameters, and the memory of them all."""
        return summary.table(self._stated_problem, self._state)

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
        return limited(
            n_threads, evaluation.value_and_gradient, self._problem, self.parameters, X, y, sample_weight, theta
        )

    def forward(self, X: ArrayLike) -> Forward:
        """All z and a for X: Forward(z, a), one (n, n_out) array a layer, a[0] being X."""
        return evaluation.forward(self._problem, self.parameters, X)

    def backward(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Backward:
        """∂C/∂z and ∂C/∂a of the cost over X, y, by the chain rule: Backward(dz, da), one (n, n_out) array a layer."""
        return evaluation.backward(self._problem, self.parameters, X, y, sample_weight)

    def check_gradient(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> GradientCheck:
        """Compare the gradient at the parameters with central differences, every parameter, in float64."""
        return evaluation.check_gradient(self._problem, self.parameters, X, y, sample_weight)

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
        return evaluation.compiled(self._problem, derivatives, classes, self.optimizer)

    def workspace(self, rows: int = 1, *derivatives: str) -> Array:
        """Memory for one thread's calls of `fastbp.jit` with up to `rows` rows; for these derivatives, too."""
        return evaluation.workspace(self._problem, rows, derivatives)

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
        description, tensors = for_file(self._stated_problem, self._state)
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
        problem, state, tensors, metadata = read(path, custom)
        model = cls.__new__(cls)
        model._set_up(problem, state)
        return model, tensors, metadata

    def __getstate__(self) -> tuple[dict[str, Any], dict[str, Array], list[Activation | Loss]]:
        problem = self._stated_problem
        return *to_state(problem, self._state), custom_objects_in(problem)

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Array], list[Activation | Loss]]) -> None:
        self._set_up(*from_state(*state))

    def __repr__(self) -> str:
        return summary.line(self._stated_problem, self._state)


FIT_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(Model.fit).parameters.items()
    if name not in ("self", "X", "y")
}
