"""The table of shapes and goals, beside PyTorch, JAX and scikit-learn: `python -m benchmarks.compare` (extra: bench).

It measures as `fastbp bench` does (see `fastbp.bench.compare`), with the table's shapes and their goals, and can draw
the result. Run it on an idle machine.
"""

import argparse
from collections.abc import Sequence

from benchmarks import shapes
from fastbp.bench import cases, report
from fastbp.bench.command import add_conditions, network, positive, tasks
from fastbp.bench.compare import compare


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--shapes", help="rows of the table, as in A,D, or your own sizes and batch, as in 30-50-3:64")
    add_conditions(parser, threads="1,2")
    add("--plot", metavar="FILE.png", help="draw the table (needs matplotlib)")
    options = parser.parse_args(arguments)
    try:
        options.cases = chosen(options)
    except (KeyError, ValueError, argparse.ArgumentTypeError) as error:
        parser.error(f"--shapes takes rows of the table and networks like 30-50-3:64: {error}")
    return options


def own_case(text: str, options: argparse.Namespace) -> cases.Case:
    """30-50-3:64 as a row."""
    sizes, batch = text.split(":")
    return cases.own(network(sizes), positive(batch), options.loss, options.dtype, options.optimizer)


def chosen(options: argparse.Namespace) -> list[cases.Case]:
    """The rows that were asked for."""
    table = {case.name: case for case in shapes.table(options.loss, options.dtype, options.optimizer)}
    names = options.shapes.split(",") if options.shapes else ["B"] if options.predict else list(table)
    rows = [own_case(name, options) if ":" in name else table[name] for name in names]
    return tasks(rows, options)


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    rows, names, title = compare(options.cases, options)
    if options.plot:
        report.plot(rows, names, options.plot, title)


if __name__ == "__main__":
    main()
