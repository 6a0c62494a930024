"""fastbp train: the command's options; arrays and tables are trained on in a module each."""

import argparse
from dataclasses import fields
from pathlib import Path

from fastbp import plots
from fastbp.cli import train_arrays, train_table
from fastbp.cli.common import UsageError, add_format, is_array
from fastbp.optimizers import OPTIMIZERS, Optimizer
from fastbp.schedules import SCHEDULES, Schedule
from fastbp.storage import files

DESCRIPTION = "Train a network, and report how well it predicts rows that were held out."
DATA = f"""DATA is a table with named columns (.csv, .tsv, .parquet, .gz; the word penguins for one that comes with
fastbp), the word digits (1,797 handwritten digits that come with fastbp, pixels divided by 16), or a .npz file with the
arrays X and y. Arrays are used as they are: bring them to about -1 to 1 first; y of integers from 0 to
{train_arrays.MOST_CLASSES - 1} are classes."""

TABLE_ONLY = ("target", "ignore", "keep", "keep_index", "importance", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, and `run`."""
    add = parser.add_argument
    add("data", metavar="DATA", help="a table, or digits, or a .npz file")
    add("--hidden", type=_sizes, metavar="SIZES", help="layers as 64,32, or none (by the rows; 128,128 for arrays)")
    add("--activation", default="relu", metavar="NAME", help="of the hidden layers (%(default)s)")
    add("--task", choices=("classification", "regression"), help="(seen from the targets)")
    add("--loss", metavar="NAME", help="(suits the targets); all but cross_entropy mean regression")
    add("--epochs", type=int, metavar="N", help="how often every row is used (by the rows; 40 for arrays)")
    add("--batch-size", type=int, metavar="N", help="rows per step (by the rows; 32 for arrays)")
    add("--optimizer", choices=tuple(OPTIMIZERS), default="adam", help="(%(default)s)")
    add("--learning-rate", type=float, metavar="RATE", help="(0.01 for sgd, 0.001 for most others)")
    add("--schedule", choices=tuple(SCHEDULES), help="of the learning rate (constant)")
    add("--schedule-steps", type=int, metavar="N", help="mini-batches that the schedule takes (1000)")
    add("--momentum", type=float, metavar="SHARE", help="of sgd (0)")
    add("--class-weight", choices=("balanced",), help="let each class weigh the same")
    add("--dtype", choices=("float32", "float64"), default="float32", help="(%(default)s)")
    add("--test-size", type=float, default=0.2, metavar="SHARE", help="of rows held out (%(default)s, or 0)")
    add("--patience", type=int, metavar="N", help="stop after N epochs without improvement (tables: 20)")
    add("--seed", type=int, default=0, metavar="N", help="of first weights and shuffling (%(default)s)")
    add("--threads", type=int, metavar="N", help="(as many as are worth it)")
    add("--output", type=Path, metavar="FILE", help="save the model, a .safetensors file")
    add("--plot", type=Path, metavar="FILE.png", help="draw the learning curve (needs matplotlib)")
    add("--quiet", action="store_true", help="no progress bar")
    tables = parser.add_argument_group("tables")
    add_format(tables)
    tables.add_argument("--target", metavar="NAMES", help="columns to predict, with commas between (the last)")
    tables.add_argument("--ignore", metavar="NAMES", help="columns that are no inputs")
    tables.add_argument("--keep", metavar="NAMES", help="columns that are inputs although they have many values")
    tables.add_argument("--keep-index", action="store_true", help="use columns that count the rows")
    tables.add_argument("--importance", action="store_true", help="how much worse it is with a column shuffled")
    tables.add_argument("--report", type=Path, metavar="FILE.html", help="write the report as one page")
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
    if not is_array(options.data):
        train_table.run(options, optimizer)
        return
    if given := [name for name in TABLE_ONLY if getattr(options, name)]:
        raise UsageError(f"--{given[0].replace('_', '-')} is for tables, {options.data} holds arrays")
    train_arrays.run(options, optimizer)


def _check_outputs(options: argparse.Namespace) -> None:
    if not 0 <= options.test_size < 1:
        raise UsageError(f"--test-size must be at least 0 and below 1, got {options.test_size}")
    for path in filter(None, (options.output, options.plot, options.report)):
        files.check_target(path)
    if options.plot:
        formats = plots.canvas().get_supported_filetypes()
        if options.plot.suffix[1:].lower() not in formats:
            raise UsageError(f"--plot {options.plot}: the name must end in .{', .'.join(sorted(formats))}")
    if options.test_size == 0 and (options.importance or options.report):
        raise UsageError("--importance and --report need rows that are held out: --test-size above 0")


def _optimizer(options: argparse.Namespace) -> Optimizer:
    kind = OPTIMIZERS[options.optimizer]
    given = {name: getattr(options, name) for name in ("learning_rate", "momentum")}
    given = {name: value for name, value in given.items() if value is not None}
    if "momentum" in given and options.optimizer != "sgd":
        raise UsageError("--momentum is for --optimizer sgd")
    if options.schedule:
        given["learning_rate"] = _schedule(options, given.get("learning_rate", kind().learning_rate))
    elif options.schedule_steps is not None:
        raise UsageError("--schedule-steps is for --schedule")
    return kind(**given)


def _schedule(options: argparse.Namespace, rate: float) -> Schedule:
    kind = SCHEDULES[options.schedule]
    steps = {"steps", "every"} & {field.name for field in fields(kind)}
    if options.schedule_steps is None:
        return kind(rate)
    if not steps:
        raise UsageError(f"--schedule {options.schedule} takes no --schedule-steps")
    return kind(rate, **dict.fromkeys(steps, options.schedule_steps))
