"""Problem: what a model computes and minimizes, apart from its parameters; converts and checks examples for it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp.activations import AnyActivation
from fastbp.core import workspace
from fastbp.engine import inference
from fastbp.engine.derivatives.learning import learning_table, with_derivatives
from fastbp.engine.job import Examples, Job
from fastbp.engine.network_table import Objective, training_table
from fastbp.engine.team import run_once, workers_for
from fastbp.inputs.arrays import as_inputs, as_weights, as_whole_inputs
from fastbp.inputs.checks import boolean, choice, floating_dtype, fractions, nonnegative_float, nonnegative_int
from fastbp.inputs.targets import as_targets, smoothed
from fastbp.losses import AnyLoss, as_loss, as_smoothing, name_of, own_output
from fastbp.network import Network, with_scaling
from fastbp.scaling import Scaling, learned

Array = NDArray[Any]
REDUCTIONS = ("mean", "sum")
STANDARDIZE = ("inputs", "both")
STANDARDIZED_OUTPUTS = (
    "squared_error", "half_squared_error", "absolute_error", "huber", "log_cosh", "quantile",
)  # fmt: skip
"""Losses of which "both" makes those of standardized outputs."""


class Problem(NamedTuple):
    """A network with its loss and regularization; the fields are the arguments of `Model`, checked."""

    network: Network
    dtype: np.dtype[Any]
    loss: AnyLoss
    reduction: str
    seed: int
    l1: float
    l2: float
    dropout: tuple[float, ...]
    label_smoothing: float
    standardize: str | None = None
    trainable: tuple[bool, ...] = ()

    @property
    def mean(self) -> bool:
        """Whether a cost is the average over its examples, not the sum."""
        return self.reduction == "mean"

    def flops(self, batch: int) -> float:
        """Floating-point operations of a training step."""
        return float(batch * self.network.flops)

    def frozen(self) -> NDArray[np.bool_]:
        """Which parameters are in frozen layers."""
        trainable = self.trainable or (True,) * self.network.n_layers
        return np.repeat(np.logical_not(trainable), np.diff(self.network.offsets))

    # --- examples ---------------------------------------------------------------------------------------------------

    def examples(
        self, X: ArrayLike, y: ArrayLike, weights: ArrayLike | None, prefix: str = "", whole: bool = False
    ) -> Examples:
        """Checked examples, each array C-contiguous and of the problem's dtype; errors call it `prefix` and its name.

        whole: X becomes an array of whatever size, for a single mini-batch, and the weights of a sum may be negative.
        """
        inputs = (as_whole_inputs if whole else as_inputs)(X, self.network.n_inputs, self.dtype, f"{prefix}X")
        targets = as_targets(y, len(inputs), self.loss, self.network.n_outputs, self.dtype, f"{prefix}y")
        signed = whole and not self.mean
        checked = as_weights(weights, len(inputs), self.dtype, f"{prefix}sample_weight", signed=signed)
        return Examples(inputs, targets, checked)

    def smoothed(self, examples: Examples) -> Examples:
        """The examples with smoothed labels, of which gradients are taken."""
        if self.label_smoothing == 0:
            return examples
        return replace(examples, y=smoothed(examples.y, self.loss, self.label_smoothing, self.network.n_outputs))

    def one_example(self) -> Examples:
        """One example of zeros, for calls that read only its shape."""
        classes = self.loss == "cross_entropy"
        targets = np.zeros(1 if classes else (1, self.objective(classes).targets(self.network)), self.dtype)
        return Examples(np.zeros((1, self.network.n_inputs), self.dtype), targets)

    def scaled(self, examples: Examples) -> Examples:
        """The examples as the first layer and the loss take them, in new arrays if there is a scaling."""
        scaling = self.network.scaling
        if scaling is None:
            return examples
        assert isinstance(examples.X, np.ndarray)
        return Examples(scaling.inputs(examples.X), scaling.targets(examples.y), examples.weights)

    def with_derivatives(self, examples: Examples, dy: ArrayLike | None) -> Examples:
        """The examples with derivatives to learn, checked. ValueError for a problem that cannot learn them."""
        if dy is None:
            return examples
        if any(self.dropout):
            raise ValueError(f"dropout must be 0 with dy, as the dropped network has other derivatives: {self.dropout}")
        return with_derivatives(self.network, examples, dy)

    # --- scaling ----------------------------------------------------------------------------------------------------

    def check_ready(self) -> None:
        """ValueError while a scaling is still to be learned."""
        if self.standardize is not None and self.network.scaling is None:
            raise ValueError(
                f"the model has standardize={self.standardize!r} and no statistics yet: call fit, which learns them, "
                "call model.learn_scaling, or set model.scaling = fastbp.Scaling(mean, scale)"
            )

    def check_scaling(self, scaling: Scaling) -> None:
        """ValueError or TypeError unless the scaling suits."""
        if not isinstance(scaling, Scaling):
            raise TypeError(f"scaling must be a fastbp.Scaling or None, got {type(scaling).__name__}")
        if self.standardize is None:
            raise ValueError("scaling must be None for a model without standardize, got one")
        scaling.check(self.network.n_inputs, self.network.n_outputs, self.dtype, self.standardize)

    def with_statistics(self, examples: Examples, *, sparse: bool) -> "Problem":
        """The problem with the scaling that these examples give, unless it has one or needs none.

        sparse: the inputs are not centred. ValueError if a statistic is beyond the dtype.
        """
        if self.standardize is None or self.network.scaling is not None:
            return self
        y = examples.y if self.standardize == "both" else None
        scaling = learned(examples.X, y, examples.weights, centre=not sparse)
        self.check_scaling(scaling)
        return self._replace(network=with_scaling(self.network, scaling))

    def scaling_of(self, X: ArrayLike, y: ArrayLike | None, weights: ArrayLike | None) -> Scaling:
        """The scaling that these rows give: see `Model.learn_scaling`."""
        if self.standardize is None:
            raise ValueError("learn_scaling needs a model with standardize='inputs' or 'both', got None")
        inputs = as_inputs(X, self.network.n_inputs, self.dtype)
        targets = None
        if self.standardize == "both":
            if y is None:
                raise ValueError("y must be given for a model with standardize='both', got None")
            targets = as_targets(y, len(inputs), self.loss, self.network.n_outputs, self.dtype)
        checked = as_weights(weights, len(inputs), self.dtype)
        scaling = learned(inputs, targets, checked, centre=not hasattr(X, "tocsr"))
        self.check_scaling(scaling)
        return scaling

    # --- what is computed -------------------------------------------------------------------------------------------

    def objective(self, classes: bool) -> Objective:
        """What training minimizes; classes: whether y holds class indices."""
        return Objective(self.loss, classes, self.mean, self.l1, self.l2, self.trainable)

    def net(self, examples: Examples, batch: int = 0, dropout: bool = False) -> NDArray[np.int64]:
        """The network table for mini-batches of `batch` examples; 0: to evaluate. dropout: drop units, if any."""
        if examples.dy is not None:
            return learning_table(self.network, self.dtype.itemsize, self.objective(examples.y.ndim == 1))
        few = 0 < batch <= workspace.FEW
        dropped = self.dropout if dropout and any(self.dropout) else ()
        return training_table(self.network, self.dtype.itemsize, self.objective(examples.y.ndim == 1), few, dropped)

    def cost(self, theta: Array, examples: Examples, job: NDArray[np.int64] | None = None) -> float:
        """The cost over the examples, without penalties. NaN if `job` is stopped meanwhile."""
        total = inference.total_cost(self.net(examples), theta, examples, job)
        return total / examples.total_weight if self.mean else total

    def value_and_gradient(self, theta: Array, examples: Examples) -> tuple[float, Array]:
        """The cost over the examples, penalties included, and its gradient, ordered like theta."""
        learned, gradient = self.smoothed(examples), np.empty_like(theta)
        rows, flops = len(learned), self.flops(len(learned))
        workers = workers_for(flops)
        job = Job(self.net(learned, rows), theta, gradient, learned, rows, workers)
        job.prepare(0, 1)
        run_once(job.slots, job, workers, self.dtype.itemsize, flops)
        return float(job.costs[0]), gradient


def problem_of(
    sizes: Sequence[int],
    hidden: AnyActivation | Sequence[AnyActivation],
    output: AnyActivation | None,
    loss: AnyLoss | None,
    bias: bool,
    dtype: DTypeLike,
    seed: int,
    reduction: str,
    l1: float,
    l2: float,
    dropout: float | Sequence[float],
    label_smoothing: float,
    standardize: str | None = None,
    trainable: Sequence[bool] = (),
) -> Problem:
    """The problem of these arguments of `Model`. ValueError or TypeError name the argument that is wrong."""
    network = Network(sizes, hidden, own_output(loss) if output is None else output, bias)
    fractions_dropped = fractions("dropout", dropout, len(network.hidden))
    dtype = floating_dtype(dtype)
    checked_loss = as_loss(loss, network.output, network.n_outputs, dtype)
    return Problem(
        network=network,
        dtype=dtype,
        loss=checked_loss,
        reduction=choice("reduction", reduction, REDUCTIONS),
        label_smoothing=as_smoothing(label_smoothing, checked_loss),
        seed=nonnegative_int("seed", seed),
        l1=nonnegative_float("l1", l1),
        l2=nonnegative_float("l2", l2),
        dropout=fractions_dropped,
        trainable=as_trainable(trainable, network.n_layers),
        standardize=as_standardize(standardize, checked_loss, network.output),
    )


def as_trainable(trainable: object, n_layers: int) -> tuple[bool, ...]:
    """One bool for each layer, or () if all are True. TypeError or ValueError otherwise."""
    if isinstance(trainable, str) or not isinstance(trainable, Sequence | np.ndarray):
        raise TypeError(f"trainable must be a sequence of True and False, one for each layer, got {trainable!r}")
    flags = tuple(boolean(f"trainable[{l}]", flag) for l, flag in enumerate(trainable))
    if len(flags) not in (0, n_layers):
        raise ValueError(f"trainable must have an element for each of the {n_layers} layers, got {len(flags)}")
    if flags and not any(flags):
        raise ValueError(f"trainable must be True for at least one layer, got {flags}")
    return () if all(flags) else flags


def as_standardize(kind: object, loss: AnyLoss, output: AnyActivation) -> str | None:
    """None, "inputs" or "both"; ValueError for "both" with a loss or an output with a scale."""
    if kind is None:
        return None
    checked = choice("standardize", kind, STANDARDIZE)
    if checked == "both" and name_of(loss) not in STANDARDIZED_OUTPUTS:
        raise ValueError(
            f"standardize='both' is for the losses {', '.join(STANDARDIZED_OUTPUTS)}, got loss {name_of(loss)!r}; "
            "standardize='inputs' is for all"
        )
    if checked == "both" and output != "identity":
        raise ValueError(f"standardize='both' needs the output 'identity', got {output!r}; use standardize='inputs'")
    return checked
