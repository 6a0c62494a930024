"""The command `fastbp bench`: arguments and execution."""

import argparse
from pathlib import Path

from fastbp.bench import cases
from fastbp.bench.backend import NAMES
from fastbp.bench.compare import compare
from fastbp.bench.measure import OWN
from fastbp.engine.thread_limit import threads_here
from fastbp.storage.files import check_target

BACKENDS = [name for name in NAMES if name != OWN]
DESCRIPTION = """Measure a training step of your network on this machine: fastbp and every other library that is
installed, in interleaved rounds, each in a separate process. Run it on an idle machine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All arguments of `fastbp bench`."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("networks", nargs="+", type=network, metavar="SIZES", help="layers, inputs first, as in 64-64-10")
    add("--batch", type=positive, default=64, metavar="N", help="rows per step (%(default)s)")
    add_conditions(parser, threads=",".join(map(str, worthwhile_threads(threads_here()))))
    parser.set_defaults(run=run)


def add_conditions(parser: argparse.ArgumentParser, threads: str) -> None:
    """The arguments that `python -m benchmarks.compare` has as well."""
    add = parser.add_argument
    add("--loss", choices=("cross_entropy", "squared_error"), default="cross_entropy",
        help="cross_entropy: relu and softmax; squared_error: tanh (%(default)s)")  # fmt: skip
    add("--dtype", choices=("float32", "float64"), default="float32", help="(%(default)s)")
    add("--optimizer", choices=("adam", "sgd", "momentum"), default="adam", help="(%(default)s)")
    add("--threads", type=counts, default=threads, metavar="N,N",
        help="of the other libraries, the best counts; fastbp chooses unless this is 1 (%(default)s)")  # fmt: skip
    add("--rounds", type=positive, default=9, metavar="N", help="(%(default)s)")
    add("--backends", type=backends, default=",".join(BACKENDS), metavar="NAMES",
        help='the other libraries (%(default)s), or "" for none')  # fmt: skip
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--predict", action="store_true",
        help="predictions instead of training: many rows, and one row at a time")  # fmt: skip
    task.add_argument("--single", action="store_true", help="training by a call from Python for each mini-batch")
    add("--json", type=Path, metavar="FILE", help="write everything that was measured")


def network(text: str) -> tuple[int, ...]:
    """The sizes of the layers: "30-50-3" -> (30, 50, 3)."""
    parts = text.split("-")
    if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected sizes as 30-50-3, got {text!r}")
    return tuple(map(int, parts))


def positive(text: str) -> int:
    """A number of rows, rounds or threads."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected an integer from 1 up, got {text!r}")
    return int(text)


def counts(text: str) -> list[int]:
    """Numbers of threads: "1,2" -> [1, 2]."""
    return [positive(part) for part in text.split(",")]


def backends(text: str) -> list[str]:
    """Names of libraries: "torch,jax" -> ["torch", "jax"]."""
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in BACKENDS]:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(BACKENDS)}, got {unknown[0]!r}")
    return names


def worthwhile_threads(cores: int) -> list[int]:
    """One, half of the cores and all: with two threads per core, half of them are often the faster choice."""
    return sorted({1, max(1, cores // 2), cores})


def run(options: argparse.Namespace) -> None:
    """Validates all arguments, then measures and prints."""
    if options.json:
        check_target(options.json)
    if options.loss == "cross_entropy" and any(sizes[-1] < 2 for sizes in options.networks):
        raise ValueError("cross_entropy needs two outputs or more (or --loss squared_error)")
    rows = [
        cases.own(sizes, options.batch, options.loss, options.dtype, options.optimizer) for sizes in options.networks
    ]
    compare(tasks(rows, options), options)


def tasks(rows: list[cases.Case], options: argparse.Namespace) -> list[cases.Case]:
    """The cases to measure: training steps, or what --predict or --single turn them into."""
    if options.predict:
        return [prediction for case in rows for prediction in cases.predictions(case)]
    return [cases.single_steps(case) for case in rows] if options.single else rows
