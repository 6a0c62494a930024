"""How near to this CPU's peak: `python -m benchmarks.roofline [--dtype float64] [--widths 100,300] [--rounds N]`.

The peak is measured: multiply-adds in the registers of one core. Beside it sgemm (dgemm) of NumPy's BLAS on one
thread, every kernel of the core by width, and whole training steps. Printed are GF/s and percent of the peak by CPU
seconds, and percent by wall seconds, which a host that steals time makes worse: medians of rounds in which the peak was
measured just before. For widths that are no whole vectors, a second percentage counts the lanes that padding
fills as work. The operations of kernels are those of their formulas
(a transposed element counts as one; updates, activations and losses wait for memory, not for the multiply-adds); of a
step they are 6 B Σ n_in n_out - 2 B n_0 n_1. Nothing is subtracted. Run it on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import numpy as np

import fastbp
from benchmarks import kernels, shapes
from fastbp.bench import cases, report
from fastbp.bench.measure import THREADS_OF_LIBRARIES
from fastbp.core.ir.kernel import lanes_of
from fastbp.engine.thread_limit import threads_here

GEMM = """
import sys, time
import numpy as np
n, dtype = int(sys.argv[1]), sys.argv[2]
a, b, c = (np.full((n, n), 0.5, dtype) for _ in range(3))
best = [1.0, 1.0]
for _ in range(20):
    start = time.perf_counter(), time.process_time()
    np.matmul(a, b, out=c)
    now = time.perf_counter(), time.process_time()
    best = [min(best[i], now[i] - start[i]) for i in range(2)]
print(*(2 * n**3 / seconds for seconds in best))
"""
GEMM_SIZE = 768

Rate = Callable[[], tuple[float, float]]  # operations per second, by wall and by CPU seconds, measured now
Figure = tuple[float, float, float]  # GF/s by CPU seconds, share of the peak by CPU and by wall seconds


def gemm(dtype: str) -> tuple[float, float]:
    """Of NumPy's BLAS on one thread, in a separate process; the best of 20 products."""
    environment = os.environ | dict.fromkeys(THREADS_OF_LIBRARIES, "1")
    command = [sys.executable, "-c", GEMM, str(GEMM_SIZE), dtype]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    wall, cpu = map(float, output.split())
    return wall, cpu


def rate_of(work: kernels.Work) -> Rate:
    def rate() -> tuple[float, float]:
        wall, cpu = work.seconds(3e-3)
        return work.operations / wall, work.operations / cpu

    return rate


def rate_of_step(case: cases.Case, threads: int) -> Rate:
    """Of whole steps: the fastest epoch of one call of fit, and the CPU seconds of all its threads."""
    model = fastbp.Model(case.sizes, case.hidden, case.output, case.loss, dtype=case.dtype, initial=cases.initial(case))
    X, y = cases.data(case)

    def rate() -> tuple[float, float]:
        epochs, start = max(3, case.epochs), time.process_time()
        history = model.fit(X, y, epochs, case.batch, n_threads=threads)
        cpu = (time.process_time() - start) / epochs
        return case.flops * case.steps / float(history.seconds.min()), case.flops * case.steps / cpu

    rate()
    return rate


def measured(rate: Rate, peak: Rate, rounds: int, cores: int = 1) -> Figure:
    """Medians."""
    pairs = [(peak(), rate()) for _ in range(rounds)]
    cpu, wall = (median(value[i] / top[i] for top, value in pairs) for i in (1, 0))
    return median(value[1] for _, value in pairs) / 1e9, cpu, wall / cores


def shown(figure: Figure) -> str:
    return f"{figure[0]:.1f} {100 * figure[1]:3.0f}% ({100 * figure[2]:.0f})"


def row(name: str, cells: Iterable[str]) -> None:
    print(f"{name:28}" + "".join(f"{cell:>17}" for cell in cells), flush=True)


def kernel_figures(dtype: str, widths: Sequence[int], peak: Rate, rounds: int) -> dict[str, list[Figure]]:
    """By width; printed line by line."""
    figures, lanes = {}, lanes_of(np.dtype(dtype).itemsize)
    print()
    row(f"one core, {kernels.EXAMPLES} examples; width", map(str, widths))
    for name, make in kernels.KERNELS.items():
        figures[name] = [measured(rate_of(make(width, dtype)), peak, rounds) for width in widths]
        row(name, map(shown, figures[name]))
        if name.endswith(" sum") and any(width % lanes for width in widths):
            shares = [-(-width // lanes) * lanes / width for width in widths]
            counted = zip(shares, figures[name], strict=True)
            row(
                "   padding counted",
                (f"{100 * share * figure[1]:.0f}% ({100 * share * figure[2]:.0f})" for share, figure in counted),
            )
    return figures


def step_figures(dtype: str, peak: Rate, rounds: int) -> dict[str, list[Figure]]:
    """By number of threads, against the peak of that number of cores; printed line by line."""
    figures = {}
    counts = sorted({1, min(2, threads_here())})
    print()
    row("a whole step; threads", map(str, counts))
    for case in [*shapes.table("cross_entropy", dtype, "adam"), *shapes.odd_widths(dtype)]:
        if case.task == "fit" and case.flops > 1e5:  # T and J are all overhead
            name = f"{case.name} {case}"
            figures[name] = [measured(rate_of_step(case, count), peak, rounds, count) for count in counts]
            row(name, map(shown, figures[name]))
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=kernels.DTYPES, default="float32")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--widths", default=",".join(map(str, kernels.WIDTHS)), help="default: %(default)s")
    parser.add_argument("--only", choices=("kernels", "steps"), help="one of the two tables")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    peak, rounds, widths = rate_of(kernels.peak(options.dtype)), options.rounds, [*map(int, options.widths.split(","))]
    figures = {
        "peak": median(peak()[1] for _ in range(rounds)) / 1e9,
        "gemm": measured(lambda: gemm(options.dtype), peak, min(rounds, 3)),
    }
    print(f"{options.dtype}, {report.machine()}\npeak of one core {figures['peak']:.1f} GF/s")
    print(f"NumPy's BLAS, {GEMM_SIZE} x {GEMM_SIZE}: {shown(figures['gemm'])}")
    if options.only != "steps":
        figures["kernels"] = kernel_figures(options.dtype, widths, peak, rounds)
    if options.only != "kernels":
        figures["steps"] = step_figures(options.dtype, peak, rounds)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": report.machine(), "widths": widths, **figures}, file, indent=1)


if __name__ == "__main__":
    main()
