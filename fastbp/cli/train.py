"""fastbp train: reads, splits, trains, reports, saves."""

import argparse
import io
import time
from pathlib import Path

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
from fastbp.optimizers import SGD, Adam
from fastbp.storage import files

MOST_CLASSES = 100
"""Targets that are integers below this number are classes, if --task does not say otherwise."""

SPLIT_SEED = 0
"""The rows held out are the same in every run, so that runs can be compared."""

DESCRIPTION = "Train a network, and print its cost and accuracy on rows that were held out."
DATA = f"""DATA is the word digits (1,797 handwritten digits that come with fastbp, pixels divided by 16), a
.npz file with the arrays X and y, or a .csv file whose last column is the target and whose first line may be
names. Targets that are integers from 0 to {MOST_CLASSES - 1} are classes, anything else is regression. Inputs
are used as they are: bring them to about -1 to 1 first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, and `run`."""
    add = parser.add_argument
    add("data", metavar="DATA", help="digits, a .npz file or a .csv file")
    add("--hidden", type=_sizes, default="128,128", metavar="SIZES", help="layers (%(default)s), or none")
    add("--activation", default="relu", metavar="NAME", help="of the hidden layers (%(default)s)")
    add("--task", choices=("classification", "regression"), help="(seen from the targets)")
    add("--loss", metavar="NAME", help="(suits the targets); all but cross_entropy mean regression")
    add("--epochs", type=int, default=40, metavar="N", help="how often every row is used (%(default)s)")
    add("--batch-size", type=int, default=32, metavar="N", help="rows per step (%(default)s)")
    add("--optimizer", choices=("adam", "sgd"), default="adam", help="(%(default)s)")
    add("--learning-rate", type=float, metavar="RATE", help="(0.001 for adam, 0.01 for sgd)")
    add("--momentum", type=float, metavar="SHARE", help="of sgd (0)")
    add("--dtype", choices=("float32", "float64"), default="float32", help="(%(default)s)")
    add("--test-size", type=float, default=0.2, metavar="SHARE", help="of rows held out (%(default)s, or 0)")
    add("--patience", type=int, metavar="N", help="stop after N epochs that do not improve the held-out cost")
    add("--seed", type=int, default=0, metavar="N", help="of first weights and shuffling (%(default)s)")
    add("--threads", type=int, metavar="N", help="(as many as are worth it)")
    add("--output", type=Path, metavar="FILE", help="save the model, a .safetensors file")
    add("--plot", type=Path, metavar="FILE.png", help="draw the learning curve (needs matplotlib)")
    add("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def _sizes(text: str) -> tuple[int, ...]:
    """The widths of the hidden layers: "64,32" -> (64, 32), "none" -> ()."""
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes as 64,64 or none, got {text!r}") from None


def run(options: argparse.Namespace) -> None:
    """Validates all that it can before the training."""
    _check_outputs(options)
    optimizer = _optimizer(options)
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
        (X.shape[1], *options.hidden, n_outputs),
        hidden=options.activation,
        output=OWN_OUTPUT.get(loss, "identity"),
        loss=loss,
        dtype=options.dtype,
        seed=options.seed,
    )
    history = model.fit(
        X[train],
        y[train],
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=optimizer,
        validation_data=(X[test], y[test]) if len(test) else None,
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


def _check_outputs(options: argparse.Namespace) -> None:
    if not 0 <= options.test_size < 1:
        raise UsageError(f"--test-size must be at least 0 and below 1, got {options.test_size}")
    for path in filter(None, (options.output, options.plot)):
        files.check_target(path)
    if options.plot:
        formats = plots.canvas().get_supported_filetypes()
        if options.plot.suffix[1:].lower() not in formats:
            raise UsageError(f"--plot {options.plot}: the name must end in .{', .'.join(sorted(formats))}")


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


def _optimizer(options: argparse.Namespace) -> SGD | Adam:
    if options.optimizer == "adam" and options.momentum is not None:
        raise UsageError("--momentum is for --optimizer sgd")
    given = {} if options.learning_rate is None else {"learning_rate": options.learning_rate}
    if options.optimizer == "adam":
        return Adam(**given)
    return SGD(**given, momentum=options.momentum or 0.0)


def _report(model: Model, history: History, elapsed: float) -> None:
    seconds = float(np.sum(history.seconds))
    compiling = elapsed - seconds
    compiled = f", {compiling:.1f} s to compile (kept for the next run)" if compiling > 0.5 else ""
    sizes = "-".join(map(str, model.network.sizes))
    print(f"network   {sizes}, {model.network.n_parameters:,} parameters")
    print(f"training  {len(history)} epochs in {seconds:.2f} s{compiled}, last cost {history.cost[-1]:.4g}")
