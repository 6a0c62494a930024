"""Measures fastbp and the other installed libraries, and prints the comparison.

Every library works in a separate process, on the same mini-batches, from the same initial parameters, in interleaved
rounds after a warm-up. Printed are microseconds per step, median (minimum) of the rounds, the median over the rounds of
the ratio to fastbp, and then the costs reached, which show that all learn the same. The other libraries run with
each number of threads, and the best one counts; fastbp chooses its own.
"""

import argparse

from fastbp.bench import measure, report
from fastbp.bench.cases import Case
from fastbp.storage import files


def compare(cases: list[Case], options: argparse.Namespace) -> tuple[report.Rows, list[str], str]:
    """Measures and prints, and writes options.json; returns the rows, the libraries and the title."""
    processes, left_out = measure.start_backends(options.backends, options.threads)
    versions = {backend.name: backend.greeting["version"] for backend in processes}
    title = f"{options.dtype}, {options.loss}, {options.optimizer}; {report.machine()}"
    print(*left_out, ", ".join(f"{name} {version}" for name, version in versions.items()), title, sep="\n", flush=True)
    rows: report.Rows = []
    try:
        for case in cases:
            rows.append((case, measure.measure(case, processes, options.rounds)))
            if len(cases) > 1:  # shows progress
                print("  ".join(report.line_of_times(*rows[-1], list(versions))), flush=True)
    finally:
        for backend in processes:
            backend.close()
    print_tables(rows, list(versions))
    if options.json:
        about = {"versions": versions, "left_out": left_out, "conditions": title, "rounds": options.rounds}
        files.replace(options.json, report.as_json(rows, about).encode())
    return rows, list(versions), title


def print_tables(rows: report.Rows, names: list[str]) -> None:
    """Prints times, costs, and the cases that a library could not run."""
    for table in (report.times, report.costs):
        print("", table.__doc__, table(rows, names), sep="\n")
    if failures := report.failures(rows):
        print("", failures, sep="\n")
