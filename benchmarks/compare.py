"""fastbp beside PyTorch, JAX and scikit-learn, measured now: `python -m benchmarks.compare` (extra: bench).

Every library works in a process of its own, on the same mini-batches, from the same initial parameters, in interleaved
rounds after a warm-up. Printed are microseconds per step, median (minimum) of the rounds, the median over the rounds of
the ratio to fastbp, and then the costs reached, which show that all learn the same. Rivals run with each number of
threads, and the better one counts; fastbp chooses for itself. Run it on an idle machine.
"""

import argparse
from collections.abc import Sequence

from benchmarks import cases, measure, report
from benchmarks.rival import NAMES


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.split("\n\n")[0])
    rivals = [name for name in NAMES if name != measure.OWN]
    add = parser.add_argument
    add("--shapes", help="rows of the table, as in A,D, or sizes and batch of your own, as in 30-50-3:64")
    add("--rivals", default=",".join(rivals), help="default: %(default)s")
    add("--dtype", choices=("float32", "float64"), default="float32")
    add("--loss", choices=("cross_entropy", "squared_error"), default="cross_entropy",
        help="cross_entropy: relu and softmax; squared_error: tanh")  # fmt: skip
    add("--optimizer", choices=("adam", "sgd", "momentum"), default="adam")
    add("--threads", default="1,2", help="of the rivals; fastbp gets one thread if this is 1 (default: %(default)s)")
    add("--rounds", type=int, default=9, help="default: %(default)s")
    add("--predict", action="store_true", help="predictions instead of training: many rows, and one row at a time")
    add("--json", metavar="FILE", help="write everything that was measured")
    add("--plot", metavar="FILE.png", help="draw the table (needs matplotlib)")
    options = parser.parse_args(arguments)
    options.threads = [int(count) for count in options.threads.split(",")]
    options.rivals = [name for name in options.rivals.split(",") if name]
    if unknown := set(options.rivals) - set(rivals):
        parser.error(f"unknown rivals {', '.join(sorted(unknown))}; there are {', '.join(rivals)}")
    try:
        options.cases = chosen(options)
    except (KeyError, ValueError) as error:
        parser.error(f"--shapes: {error} is neither a row of the table nor like 30-50-3:64")
    return options


def own_case(text: str, options: argparse.Namespace) -> cases.Case:
    """30-50-3:64 as a row."""
    sizes, batch = text.split(":")
    layers = tuple(int(size) for size in sizes.split("-"))
    return cases.Case("-", layers, int(batch), "fit", options.loss, options.dtype, options.optimizer).with_steps()


def chosen(options: argparse.Namespace) -> list[cases.Case]:
    """The rows that were asked for."""
    table = {case.name: case for case in cases.table(options.loss, options.dtype, options.optimizer)}
    names = options.shapes.split(",") if options.shapes else ["B"] if options.predict else list(table)
    rows = [own_case(name, options) if ":" in name else table[name] for name in names]
    return [prediction for case in rows for prediction in cases.predictions(case)] if options.predict else rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    own_threads = 1 if options.threads == [1] else None
    processes = measure.contenders(options.rivals, options.threads, own_threads)
    versions = {contender.name: contender.greeting["version"] for contender in processes}
    title = f"{options.dtype}, {options.loss}, {options.optimizer}; {report.machine()}"
    print(", ".join(f"{name} {version}" for name, version in versions.items()), title, sep="\n", flush=True)
    rows: report.Rows = []
    try:
        for case in options.cases:
            rows.append((case, measure.measure(case, processes, options.rounds)))
            print("  ".join(report.line_of_times(*rows[-1], list(versions))), flush=True)
    finally:
        for contender in processes:
            contender.close()
    print("", report.times.__doc__, report.times(rows, list(versions)), sep="\n")
    print("", report.costs.__doc__, report.costs(rows, list(versions)), report.failures(rows), sep="\n")
    if options.json:
        with open(options.json, "w") as file:
            file.write(report.as_json(rows, {"versions": versions, "conditions": title, "rounds": options.rounds}))
    if options.plot:
        report.plot(rows, list(versions), options.plot, title)


if __name__ == "__main__":
    main()
