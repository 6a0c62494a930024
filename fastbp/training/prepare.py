"""What fit does before it trains: checks the options, divides and weights the examples, makes the run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import optimizers, schedules
from fastbp.callbacks import as_callbacks
from fastbp.core import slots, workspace
from fastbp.core.step.update import update
from fastbp.engine import inference
from fastbp.engine.job import Examples, Job
from fastbp.engine.network_table import aligned_zeros
from fastbp.engine.team import stop_on_interrupt, workers_for
from fastbp.engine.thread_limit import limited, threads_here
from fastbp.history import History
from fastbp.inputs.checks import as_weights, boolean, nonnegative_int, open_fraction, positive_int
from fastbp.inputs.classes import class_weights, classes_of, held_out
from fastbp.metrics import Metric, as_metrics
from fastbp.optimizers import Optimizer
from fastbp.storage import files
from fastbp.training import checkpoint
from fastbp.training.autotune import pace_of
from fastbp.training.run import Plan, Run

if TYPE_CHECKING:
    from fastbp.model import Model


@dataclass(frozen=True)
class Options:
    """The arguments of `Model.fit`, as they came."""

    epochs: Any = 10
    batch_size: Any = 32
    optimizer: Any = None
    validation_data: Any = None
    sample_weight: Any = None
    shuffle: Any = True
    n_threads: Any = None
    progress: Any = False
    callbacks: Any = ()
    early_stopping: Any = None
    validation_fraction: Any = None
    metrics: Any = ()
    class_weight: Any = None
    initial_epoch: Any = None
    checkpoint: Any = None
    every: Any = None


def fit(model: "Model", X: ArrayLike, y: ArrayLike, options: Options) -> History:
    """Train the model; what it has learned it counts, however the training ends."""
    check_not_in_fit(model, "fit")
    earlier = model._interrupted
    if earlier is not None:
        options = checkpoint.resumed(options, earlier)
        if options.optimizer is not None and optimizers.as_optimizer(options.optimizer) != model.optimizer:
            raise ValueError(f"optimizer must be {model.optimizer} as in the run that is resumed, or left out")
    run = limited(options.n_threads, _train, model, X, y, options, earlier)
    return run.history()


def _train(model: "Model", X: ArrayLike, y: ArrayLike, options: Options, earlier: checkpoint.Interrupted | None) -> Run:
    """A run that has ended; what the model has learned it counts, whatever is raised."""
    run = prepared(model, X, y, options, earlier)
    model._interrupted = None

    def train() -> None:
        try:
            try:
                model._in_fit = True
                run.go()
            finally:
                model._in_fit = False
                run.count()
        finally:  # an exception of a signal handler may have come within the first
            model._in_fit = False
            run.count()

    stop_on_interrupt(run.job.slots, train)
    return run


def check_not_in_fit(model: "Model", method: str) -> None:
    """ValueError in a callback of the model's own fit."""
    if model._in_fit:
        raise ValueError(f"the model is being trained: {method} cannot be called on it before its fit has ended")


def prepared(
    model: "Model", X: ArrayLike, y: ArrayLike, options: Options, earlier: checkpoint.Interrupted | None = None
) -> Run:
    """A run that has not begun, or is where an earlier one was. What is refused is refused before the model changes."""
    training, validation = _examples(model, X, y, options)
    new = model.optimizer if options.optimizer is None else optimizers.as_optimizer(options.optimizer)
    epochs_before, epochs = _epochs(model, options)
    batch_size = optimizers.checked_batch(new, positive_int("batch_size", options.batch_size), len(training))
    shuffle, progress = boolean("shuffle", options.shuffle), boolean("progress", options.progress)
    flops = model._flops(batch_size)
    n_threads = options.n_threads
    learned = model._smoothed(training)
    net = learning_net(model, learned, batch_size)
    shards = int(workspace.shards_of(net, min(batch_size, len(training))))
    steps = epochs * -(-len(training) // batch_size)
    workers = workers_for(flops, shards, steps) if n_threads is None else threads_here()
    metrics = as_metrics(options.metrics, model.network, model.loss, training.y)
    callbacks = as_callbacks(options.callbacks, options.early_stopping)
    keeper = _keeper(options, training, validation, metrics, earlier)
    columns = {"cost": False, **({} if validation is None else {"validation_cost": False})}
    for callback in callbacks:
        callback.before_fit({**columns, **{metric.name: metric.higher_is_better for metric in metrics}})
    plan = Plan(
        model=model,
        epochs=epochs,
        mean=model.reduction == "mean",
        seed=model.seed if shuffle else None,
        epochs_before=epochs_before,
        updates_before=state_for(model, new),
        course=optimizers.Course(new, model._progress),
        flops=flops,
        score=_score(model, training, validation, metrics),
        metrics=tuple(metric.name for metric in metrics),
        callbacks=callbacks,
        progress=progress,
        checkpoint=keeper,
    )
    job = learning_job(model, net, learned, batch_size, workers)
    pace = pace_of(model.network, model.dtype.itemsize, job.batch, workers, adaptive=n_threads is None)
    run = Run(job, plan, pace)
    if earlier is not None:
        try:
            run.load_state(earlier.state)
        except (KeyError, TypeError, ValueError) as error:
            raise files.not_a_model(earlier.path, error, "holds a run that cannot go on") from error
    return run


def learning_net(model: "Model", learned: Examples, batch_size: int) -> NDArray[np.int64]:
    """The table of a network that learns from mini-batches of so many of the examples."""
    return model._net(learned, batch_size, model.dropout if any(model.dropout) else ())


def learning_job(model: "Model", net: NDArray[np.int64], learned: Examples, batch_size: int, workers: int) -> Job:
    """Mini-batches of the examples, each of which updates the model by its optimizer."""
    optimizer = model.optimizer
    job = Job(net, model._theta, np.empty_like(model._theta), learned, batch_size, workers)
    job.drop_by(model.seed)
    kernel = update(optimizer.rule, model.dtype.itemsize)
    job.update_by(kernel.address, model._moments, optimizer.clip_norm, plain=optimizer.rule == "sgd")
    return job


def _keeper(
    options: Options,
    training: Examples,
    validation: Examples | None,
    metrics: tuple[Metric, ...],
    earlier: checkpoint.Interrupted | None,
) -> checkpoint.Checkpoint | None:
    """Who writes the checkpoints; ValueError if an earlier run is not to go on as it began."""
    every = checkpoint.every_of(options)
    if options.checkpoint is None:
        if options.every is not None:
            raise ValueError("every needs a checkpoint: the file to write")
        return None
    arguments = checkpoint.kept_arguments(options, tuple(metric.name for metric in metrics))
    fingerprint = checkpoint.fingerprint_of(training, validation)
    if earlier is not None:
        checkpoint.check_same(earlier, arguments, fingerprint)
    return checkpoint.Checkpoint(options.checkpoint, every, arguments, fingerprint)


def _examples(model: "Model", X: ArrayLike, y: ArrayLike, options: Options) -> tuple[Examples, Examples | None]:
    """What to train on, and what to validate on."""
    training = model._examples(X, y, options.sample_weight)
    validation = None
    if options.validation_data is not None:
        validation = _validation(model, options.validation_data)
    if options.validation_fraction is not None:
        if validation is not None:
            raise ValueError("validation_fraction must be None if there are validation_data")
        share = open_fraction("validation_fraction", options.validation_fraction)
        classes = classes_of(training.y, model.network.output, model.loss)
        parts = held_out(len(training), classes, share, model.seed)
        training, validation = (training.take(rows) for rows in parts)
        for examples, what in ((training, "to train on"), (validation, "held out by validation_fraction")):
            if not examples.total_weight:
                raise ValueError(f"sample_weight must not be all zero for the rows {what}")
    if options.class_weight is not None:
        classes = classes_of(training.y, model.network.output, model.loss)
        weights = class_weights(options.class_weight, classes, max(model.network.n_outputs, 2))
        weights *= 1 if training.weights is None else training.weights
        training = Examples(
            training.X, training.y, as_weights(weights, len(training), model.dtype, "sample_weight by class_weight")
        )
    return training, validation


def _validation(model: "Model", data: object) -> Examples:
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise TypeError(f"validation_data must be (X, y) or (X, y, sample_weight), got {type(data).__name__}")
    X, y, *weights = data
    return model._examples(X, y, weights[0] if weights else None, "validation_data: ")


def _epochs(model: "Model", options: Options) -> tuple[int, int]:
    """The epochs trained before, and how many follow."""
    epochs = positive_int("epochs", options.epochs)
    if options.initial_epoch is None:
        return model._epochs, epochs
    initial = nonnegative_int("initial_epoch", options.initial_epoch)
    if initial >= epochs:
        raise ValueError(f"initial_epoch must be below epochs={epochs}, at which training ends, got {initial}")
    return initial, epochs - initial


def state_for(model: "Model", new: Optimizer) -> int:
    """Make room for the optimizer's moments, if they are not there yet; return the updates made so far."""
    size = optimizers.n_moments(new) * model._theta.size
    same = new.rule == model.optimizer.rule
    updates = model._updates if same else 0
    goes_on = same and new.learning_rate == model.optimizer.learning_rate
    progress = model._progress if goes_on else schedules.Progress(begun=updates)
    moments = model._moments if len(model._moments) == size and updates else aligned_zeros(size, model.dtype)
    # all or none when Ctrl-C comes
    model.optimizer, model._moments, model._updates, model._progress = new, moments, updates, progress
    return updates


def _score(
    model: "Model", training: Examples, validation: Examples | None, metrics: tuple[Metric, ...]
) -> Callable[[NDArray[np.int64]], dict[str, float]] | None:
    """The function that takes the validation cost and the metrics after an epoch, by name; None without any."""
    if validation is None and not metrics:
        return None
    examples = training if validation is None else validation

    def score(job: NDArray[np.int64]) -> dict[str, float]:
        values = {} if validation is None else {"validation_cost": model._cost(validation, job)}
        if not metrics:
            return values
        outputs, _ = inference.predict(model.network, model._theta, examples.X, job)
        if job[slots.JOB_STOP]:  # they are not complete
            return values
        y, weights = examples.y, examples.weights
        if weights is not None and not weights.all():  # an absent example's outputs may be infinite
            present = weights > 0
            y, outputs, weights = y[present], outputs[present], weights[present]
        return values | {metric.name: metric.value(y, outputs, weights) for metric in metrics}

    return score
