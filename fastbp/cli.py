"""The command line: fastbp train | predict | bench | info.

Exit codes: 0; 1 when the reader of a pipe has gone; 2 with one line on stderr for bad usage or bad data; 130
after Ctrl-C.
"""

import argparse
import io
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import fastbp
from fastbp import plots
from fastbp.callbacks import EarlyStopping
from fastbp.core.formulas.losses import LOSSES, OWN_OUTPUT
from fastbp.core.ir.cache import cache_directory
from fastbp.core.ir.kernel import host_cpu
from fastbp.data import load_digits, read_examples, read_inputs, stratified_split, tables
from fastbp.history import History
from fastbp.inputs.checks import as_whole_inputs, choice
from fastbp.inputs.targets import as_targets
from fastbp.losses import outputs_of
from fastbp.model import Model
from fastbp.optimizers import SGD, Adam
from fastbp.storage import files

Array = np.ndarray[Any, Any]

MOST_CLASSES = 100
"""Targets that are integers below this number are classes, if --task does not say otherwise."""
SPLIT_SEED = 0
"""The rows held out are the same in every run, so that runs can be compared."""

LONGEST_LINE = 1000
"""Characters of an error."""


class UsageError(ValueError):
    """What the user asked for cannot be done; the message says why in one line."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, without the usage."""

    late: Callable[[argparse.ArgumentParser], None] | None = None
    """Adds the arguments when the command is used, and not before."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.late:
            self.late(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `fastbp predict … | head`; the flush at exit must not fail once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, ArithmeticError, OSError, ImportError, MemoryError) as error:
        print("fastbp:", _one_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fastbp: interrupted", file=sys.stderr)
        return 130
    return 0


def _one_line(error: BaseException) -> str:
    """The message as one line of what a terminal shows; what is very long, as a file may make it, is cut."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …"


def _parser() -> Parser:
    parser = Parser(prog="fastbp", description="Train small neural networks fast on the CPU.")
    parser.add_argument("--version", action="version", version=f"fastbp {fastbp.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="train | predict | bench | info")
    _add_train(commands.add_parser("train", help="train a network", description=TRAIN, epilog=DATA))
    _add_predict(commands.add_parser("predict", help="use a trained network", description=PREDICT))
    commands.add_parser("bench", help="measure a network beside other libraries").late = _add_bench
    info = commands.add_parser("info", help="describe the installation or a model file")
    info.add_argument("model", nargs="?", metavar="MODEL", help="a model file")
    info.set_defaults(run=_info)
    return parser


TRAIN = "Train a network, and print its cost and accuracy on rows that were held out."
DATA = f"""DATA is the word digits (1,797 handwritten digits that come with fastbp, pixels divided by 16), a
.npz file with the arrays X and y, or a .csv file whose last column is the target and whose first line may be
names. Targets that are integers from 0 to {MOST_CLASSES - 1} are classes, anything else is regression. Inputs
are used as they are: bring them to about -1 to 1 first."""
PREDICT = """Print one line per row of DATA: the class, or the outputs separated by commas. DATA is as for
training; targets are not needed and not used."""


def _add_train(parser: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=_train)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that `fastbp train --output` or Model.save wrote")
    add("data", metavar="DATA", help="digits, a .npz file or a .csv file")
    add("--output", type=Path, metavar="FILE", help="write there: .npy for an array, else text; .gz compresses it")
    add("--raw", action="store_true", help="a classifier's outputs (probabilities), not its classes")
    parser.set_defaults(run=_predict)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    from fastbp.bench.command import add_arguments  # no other command has to import it

    add_arguments(parser)


def _sizes(text: str) -> tuple[int, ...]:
    """The widths of the hidden layers: "64,32" -> (64, 32), "none" -> ()."""
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes as 64,64 or none, got {text!r}") from None


def _train(options: argparse.Namespace) -> None:
    """Reads, splits, trains, reports, saves; whatever can be refused is refused before the training."""
    _check_outputs(options)
    optimizer = _optimizer(options)
    X, y = _digits() if options.data == "digits" else read_examples(options.data)
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


def _digits() -> tuple[Array, Array]:
    X, y = load_digits()
    return X / 16, y


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
    rest = elapsed - seconds
    compiled = f", {rest:.1f} s to compile (kept for the next run)" if rest > 0.5 else ""
    sizes = "-".join(map(str, model.network.sizes))
    print(f"network   {sizes}, {model.network.n_parameters:,} parameters")
    print(f"training  {len(history)} epochs in {seconds:.2f} s{compiled}, last cost {history.cost[-1]:.4g}")


def _predict(options: argparse.Namespace) -> None:
    if options.output:
        files.check_target(options.output)
    model = _load(options.model)
    n_inputs = model.network.n_inputs
    X = _digits()[0] if options.data == "digits" else read_inputs(options.data, n_inputs)
    outputs = model.predict(X)
    if model.network.output == "softmax" and not options.raw:
        outputs = np.argmax(outputs, axis=1)[:, None]
    if options.output:
        files.replace(options.output, tables.as_bytes(outputs, options.output.suffix))
    else:
        tables.write_text(sys.stdout, outputs)


def _load(path: str) -> Model:
    try:
        return Model.load(path)
    except LookupError as error:  # the user's functions are not in the file
        raise UsageError(f"{path} can be loaded in Python only: {error}") from None


def _info(options: argparse.Namespace) -> None:
    if options.model:
        model = _load(options.model)
        print(model)
        print(f"{model.network.n_parameters:,} parameters, {os.path.getsize(options.model):,} bytes on disk")
        return
    import numba

    print(f"fastbp    {fastbp.__version__} ({Path(fastbp.__file__).parent})")
    print(f"python    {platform.python_version()} on {platform.platform()}")
    print(f"packages  numpy {np.__version__}, numba {numba.__version__}, llvmlite {version('llvmlite')}")
    print(f"cpu       {_cpu()}")
    print(f"cache     {cache_directory() or 'no folder is writable: kernels are compiled in every process'}")


def _cpu() -> str:
    name, features = host_cpu()
    lanes = next((feature for feature in ("avx512f", "avx2", "avx", "neon") if feature in features), "no wide vectors")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name} with {lanes}, {available} cores"


if __name__ == "__main__":
    sys.exit(main())
