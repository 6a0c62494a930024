"""The command line: fastbp train | predict | bench | info, a module for each.

Exit codes: 0; 1 when the reader has closed the pipe; 2 with one line on stderr for bad usage or bad data; 130
after Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import fastbp
from fastbp.cli import info, predict, train
from fastbp.cli.common import UsageError

LONGEST_LINE = 1000
"""Characters of an error."""


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
    train.add_arguments(
        commands.add_parser("train", help="train a network", description=train.DESCRIPTION, epilog=train.DATA)
    )
    predict.add_arguments(commands.add_parser("predict", help="use a trained network", description=predict.DESCRIPTION))
    commands.add_parser("bench", help="measure a network beside other libraries").late = _add_bench
    info.add_arguments(commands.add_parser("info", help="describe the installation or a model file"))
    return parser


def _add_bench(parser: argparse.ArgumentParser) -> None:
    from fastbp.bench.command import add_arguments  # no other command has to import it

    add_arguments(parser)
