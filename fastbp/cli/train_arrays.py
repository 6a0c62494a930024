"""fastbp train on arrays: the digits and .npz files, used as they are."""

import argparse
import io
import time

import numpy as np

from fastbp import plots
from fastbp.callbacks import EarlyStopping
from fastbp.cli.common import Array, UsageError, digits
from fastbp.core.formulas.losses import LOSSES, OWN_OUTPUT
from fastbp.data import read_examples, stratified_split
from fastbp.history import History
from fastbp.inputs.arrays import as_whole_inputs
from fastbp.inputs.checks import choice
from fastbp.inputs.targets import as_targets
from fastbp.losses import outputs_of
from fastbp.model import Model
from fastbp.optimizers import Optimizer
from fastbp.storage import files

MOST_CLASSES = 100
"""Targets that are integers below this number are classes, if --task does not say otherwise."""

SPLIT_SEED = 0
"""The rows held out are the same in every run, so that runs can be compared."""

HIDDEN, EPOCHS, BATCH_SIZE = (128, 128), 40, 32


def run(options: argparse.Namespace, optimizer: Optimizer) -> None:
    """Reads, splits, trains, reports, saves."""
    X, y = digits() if options.data == "digits" else read_examples(options.data)
    X = as_whole_inputs(X, X.shape[1], options.dtype)  # before the split: an error names the row of the file
    classes = _count_classes(y, _task(options))
    loss = "cross_entropy" if classes else options.loss or "squared_error"
    columns = y.shape[1] if y.ndim == 2 else 1
    n_outputs = classes or columns * outputs_of(loss)
    if not classes:
        y = as_targets(y, len(X), loss, n_outputs, options.dtype)
    train, test = _split(y, classes, options.test_size)
    kind = f"{classes} classes" if classes else f"{columns} target{'s' * (columns > 1)} (regression)"
    print(f"data      {len(train):,} rows, {len(test):,} held out, {X.shape[1]} inputs, {kind}", flush=True)

    started = time.perf_counter()
    model = Model(
        (X.shape[1], *(HIDDEN if options.hidden is None else options.hidden), n_outputs),
        hidden=options.activation,
        output=OWN_OUTPUT.get(loss, "identity"),
        loss=loss,
        dtype=options.dtype,
        seed=options.seed,
    )
    history = model.fit(
        X[train],
        y[train],
        epochs=EPOCHS if options.epochs is None else options.epochs,
        batch_size=BATCH_SIZE if options.batch_size is None else options.batch_size,
        optimizer=optimizer,
        validation_data=(X[test], y[test]) if len(test) else None,
        class_weight=options.class_weight,
        n_threads=options.threads,
        progress=not options.quiet,
        early_stopping=None if options.patience is None else EarlyStopping(options.patience),
    )
    _report(model, history, time.perf_counter() - started)
    if len(test):
        scores = model.evaluate(X[test], y[test])
        accuracy = f", accuracy {100 * scores['accuracy']:.2f} %" if "accuracy" in scores else ""
        print(f"held out  cost {scores['cost']:.4g}{accuracy}")
    if options.output:
        model.save(options.output)
        print(f"model     {options.output}")
    if options.plot:
        drawing = io.BytesIO()
        history.plot(plots.file_axes()).figure.savefig(drawing, format=options.plot.suffix[1:].lower())
        files.replace(options.plot, drawing.getvalue())
        print(f"plot      {options.plot}")


def _count_classes(y: Array, task: str | None) -> int:
    """The number of classes 0, 1, … that the targets are, or 0 for regression."""
    are_classes = y.ndim == 1 and bool(np.all((y >= 0) & (y == np.floor(y)) & np.isfinite(y)))
    if task == "regression" or (task is None and not (are_classes and np.max(y, initial=0) < MOST_CLASSES)):
        return 0
    if not are_classes:
        raise UsageError("--task classification needs one target per row, an integer from 0 up")
    classes = int(np.max(y, initial=0)) + 1
    if classes < 2:
        raise UsageError("classification needs two classes or more, but every target is 0")
    return classes


def _task(options: argparse.Namespace) -> str | None:
    """What --task and --loss say, if they do."""
    if options.loss is None:
        return str(options.task) if options.task else None
    task = "classification" if choice("--loss", options.loss, LOSSES) == "cross_entropy" else "regression"
    if options.task not in (None, task):
        raise UsageError(f"--loss {options.loss} is for --task {task}")
    return task


def _split(y: Array, classes: int, test_size: float) -> tuple[Array, Array]:
    if test_size == 0:
        return np.arange(len(y)), np.arange(0)
    return stratified_split(y if classes else np.zeros(len(y)), test_size, SPLIT_SEED)


def _report(model: Model, history: History, elapsed: float) -> None:
    seconds = float(np.sum(history.seconds))
    compiling = elapsed - seconds
    compiled = f", {compiling:.1f} s to compile (kept for the next run)" if compiling > 0.5 else ""
    sizes = "-".join(map(str, model.network.sizes))
    print(f"network   {sizes}, {model.network.n_parameters:,} parameters")
    print(f"training  {len(history)} epochs in {seconds:.2f} s{compiled}, last cost {history.cost[-1]:.4g}")
