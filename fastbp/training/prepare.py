"""Preparation of a fit: validates its arguments, splits and weights the examples, makes the run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import optimizers
from fastbp.callbacks import Callback, as_callbacks
from fastbp.core import slots, workspace
from fastbp.core.step.update import update
from fastbp.engine import inference
from fastbp.engine.job import Array, Examples, Job
from fastbp.engine.problem import Problem
from fastbp.engine.state import InterruptedRun, TrainingState
from fastbp.engine.team import stop_on_interrupt, workers_for
from fastbp.engine.thread_limit import limited, threads_here
from fastbp.history import History
from fastbp.inputs.arrays import as_weights
from fastbp.inputs.checks import boolean, nonnegative_int, open_fraction, positive_float, positive_int
from fastbp.inputs.classes import class_weights, classes_of, held_out
from fastbp.metrics import Metric, as_metrics
from fastbp.storage import files
from fastbp.training.autotune import autotune_of
from fastbp.training.checkpoint import Checkpoint, fingerprint_of
from fastbp.training.options import Options, check_same, every_of, kept_arguments, resumed
from fastbp.training.run import Plan, Run


def fit(problem: Problem, state: TrainingState, X: ArrayLike, y: ArrayLike, options: Options, model: Any) -> History:
    """Train on X and y; however the training ends, the state counts what was learned. model: what callbacks see."""
    check_not_in_fit(state, "fit")
    earlier = state.resumed
    if earlier is not None:
        options = resumed(options, earlier)
        if options.optimizer is not None and optimizers.as_optimizer(options.optimizer) != state.optimizer:
            raise ValueError(f"optimizer must be {state.optimizer} as in the run that is resumed, or left out")

    def train() -> Run:
        run = prepared(problem, state, X, y, options, model, earlier)
        state.resumed = None
        _go(run)
        return run

    return limited(options.n_threads, train).history()


def _go(run: Run) -> None:
    """Train to the end; the state counts what was learned, whatever is raised."""
    state = run.plan.state

    def go() -> None:
        try:
            try:
                state.in_fit = True
                run.go()
            finally:
                state.in_fit = False
                run.count()
        finally:  # an exception of a signal handler may have come within the first
            state.in_fit = False
            run.count()

    stop_on_interrupt(run.job.slots, go)


def check_not_in_fit(state: TrainingState, method: str) -> None:
    """ValueError in a callback of the model's own fit."""
    if state.in_fit:
        raise ValueError(f"the model is being trained: {method} cannot be called on it before its fit has ended")


def prepared(
    problem: Problem,
    state: TrainingState,
    X: ArrayLike,
    y: ArrayLike,
    options: Options,
    model: Any,
    earlier: InterruptedRun | None = None,
) -> Run:
    """A run that has not begun, or continues an earlier one. Validates all arguments before it changes the state."""
    training, validation = _examples(problem, X, y, options)
    problem = problem.with_statistics(training, sparse=hasattr(X, "tocsr"))
    training, derivative_weight = _with_derivatives(problem, training, options)
    new = state.optimizer if options.optimizer is None else optimizers.as_optimizer(options.optimizer)
    epochs_before, epochs = _epochs(state, options)
    batch_size = optimizers.checked_batch(new, positive_int("batch_size", options.batch_size), len(training))
    shuffle, progress = boolean("shuffle", options.shuffle), boolean("progress", options.progress)
    learned = problem.smoothed(training)
    net = problem.net(learned, batch_size, dropout=True)
    steps = epochs * -(-len(training) // batch_size)
    workers = _workers(net, problem.flops(batch_size), min(batch_size, len(training)), steps, options.n_threads)
    metrics = as_metrics(options.metrics, problem.network, problem.loss, training.y)
    callbacks = as_callbacks(options.callbacks, options.early_stopping)
    writer = _checkpoint(options, training, validation, metrics, earlier)
    _before_fit(callbacks, validation is not None, metrics)
    state.adopt(new)
    state.scaling = problem.network.scaling
    plan = Plan(
        problem=problem, state=state, model=model, epochs=epochs, epochs_before=epochs_before,
        seed=problem.seed if shuffle else None, updates_before=state.updates, flops=problem.flops(batch_size),
        schedule_state=optimizers.ScheduledOptimizer(new, state.schedule),
        score=_score(problem, state.theta, training, validation, metrics),
        metrics=tuple(metric.name for metric in metrics),
        callbacks=callbacks, progress=progress, checkpoint=writer,
    )  # fmt: skip
    job = learning_job(problem, state, net, learned, batch_size, workers)
    job.learn_derivatives(derivative_weight)
    adaptive = options.n_threads is None
    run = Run(job, plan, autotune_of(problem.network, problem.dtype.itemsize, job.batch, workers, adaptive=adaptive))
    return run if earlier is None else _continued(run, earlier)


def _before_fit(callbacks: tuple[Callback, ...], validates: bool, metrics: tuple[Metric, ...]) -> None:
    """Pass the callbacks the columns of the history, and whether higher is better in each."""
    columns: dict[str, bool | None] = {"cost": False, **({"validation_cost": False} if validates else {})}
    columns |= {metric.name: metric.higher_is_better for metric in metrics}
    for callback in callbacks:
        callback.before_fit(dict(columns))


def _continued(run: Run, earlier: InterruptedRun) -> Run:
    """The run, continued from where the earlier one was interrupted."""
    try:
        run.load_state(earlier.progress)
    except (KeyError, TypeError, ValueError) as error:
        raise files.not_a_model(earlier.path, error, "holds a run that cannot go on") from error
    return run


def _workers(net: NDArray[np.int64], flops: float, rows: int, steps: int, n_threads: Any) -> int:
    """The workers of a run of `steps` mini-batches of `rows` examples."""
    return workers_for(flops, int(workspace.shards_of(net, rows)), steps) if n_threads is None else threads_here()


def learning_job(
    problem: Problem, state: TrainingState, net: NDArray[np.int64], learned: Examples, batch_size: int, workers: int
) -> Job:
    """Mini-batches of the examples, each of which updates the parameters by the optimizer."""
    job = Job(net, state.theta, np.empty_like(state.theta), learned, batch_size, workers)
    job.drop_by(problem.seed)
    optimizer = state.optimizer
    kernel = update(optimizer.rule, problem.dtype.itemsize)
    job.update_by(kernel.address, state.moments, optimizer.clip_norm, plain=optimizer.rule == "sgd")
    return job


def _checkpoint(
    options: Options,
    training: Examples,
    validation: Examples | None,
    metrics: tuple[Metric, ...],
    earlier: InterruptedRun | None,
) -> Checkpoint | None:
    """The writer of the run's file; ValueError where the arguments contradict an earlier run."""
    every = every_of(options)
    if options.checkpoint is None:
        if options.every is not None:
            raise ValueError("every needs a checkpoint: the file to write")
        return None
    arguments = kept_arguments(options, tuple(metric.name for metric in metrics))
    fingerprint = fingerprint_of(training, validation)
    if earlier is not None:
        check_same(earlier, arguments, fingerprint)
    return Checkpoint(options.checkpoint, every, arguments, fingerprint)


def _examples(problem: Problem, X: ArrayLike, y: ArrayLike, options: Options) -> tuple[Examples, Examples | None]:
    """The examples to train on, and those to validate on."""
    training = problem.examples(X, y, options.sample_weight)
    validation = None
    if options.validation_data is not None:
        validation = _validation(problem, options.validation_data)
    if options.validation_fraction is not None:
        if validation is not None:
            raise ValueError("validation_fraction must be None if there are validation_data")
        share = open_fraction("validation_fraction", options.validation_fraction)
        classes = classes_of(training.y, problem.network.output, problem.loss)
        parts = held_out(len(training), classes, share, problem.seed)
        training, validation = (training.take(rows) for rows in parts)
        for examples, what in ((training, "to train on"), (validation, "held out by validation_fraction")):
            if not examples.total_weight:
                raise ValueError(f"sample_weight must not be all zero for the rows {what}")
    if options.class_weight is not None:
        classes = classes_of(training.y, problem.network.output, problem.loss)
        weights = class_weights(options.class_weight, classes, max(problem.network.n_outputs, 2))
        weights *= 1 if training.weights is None else training.weights
        training = replace(
            training, weights=as_weights(weights, len(training), problem.dtype, "sample_weight by class_weight")
        )
    return training, validation


def _with_derivatives(problem: Problem, training: Examples, options: Options) -> tuple[Examples, float]:
    """The examples to train on, with the derivatives of fit's dy, and the weight of these."""
    weight = positive_float("derivative_weight", options.derivative_weight)
    if options.dy is not None and options.validation_fraction is not None:
        raise ValueError("validation_fraction must be None with dy: give validation_data")
    return problem.with_derivatives(training, options.dy), weight


def _validation(problem: Problem, data: object) -> Examples:
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise TypeError(f"validation_data must be (X, y) or (X, y, sample_weight), got {type(data).__name__}")
    X, y, *weights = data
    return problem.examples(X, y, weights[0] if weights else None, "validation_data: ")


def _epochs(state: TrainingState, options: Options) -> tuple[int, int]:
    """(epochs before this fit, epochs of this fit)."""
    epochs = positive_int("epochs", options.epochs)
    if options.initial_epoch is None:
        return state.epochs, epochs
    initial = nonnegative_int("initial_epoch", options.initial_epoch)
    if initial >= epochs:
        raise ValueError(f"initial_epoch must be below epochs={epochs}, at which training ends, got {initial}")
    return initial, epochs - initial


def _score(
    problem: Problem, theta: Array, training: Examples, validation: Examples | None, metrics: tuple[Metric, ...]
) -> Callable[[NDArray[np.int64]], dict[str, float]] | None:
    """The function of the job that returns validation cost and metrics by name; None without any."""
    if validation is None and not metrics:
        return None
    examples = training if validation is None else validation

    def score(job: NDArray[np.int64]) -> dict[str, float]:
        values = {} if validation is None else {"validation_cost": problem.cost(theta, validation, job)}
        if not metrics:
            return values
        outputs, _ = inference.predict(problem.network, theta, examples.X, job)
        if job[slots.Job.stop]:  # they are not complete
            return values
        y, weights = examples.y, examples.weights
        if weights is not None and not weights.all():  # an absent example's outputs may be infinite
            present = weights > 0
            y, outputs, weights = y[present], outputs[present], weights[present]
        return values | {metric.name: metric.value(y, outputs, weights) for metric in metrics}

    return score
