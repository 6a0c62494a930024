"""How near to this CPU's peak: `python -m benchmarks.roofline [--dtype float64] [--rounds N] [--json FILE]`.

The peak is measured: multiply-adds in the registers of one core. Beside it sgemm (dgemm) of NumPy's BLAS on one
thread, every kernel of the core by width, and whole training steps. Printed are GF/s and percent of the peak, medians
of rounds in which the peak was measured just before. The operations of kernels are those of their formulas
(a transposed element counts as one; updates, activations and losses wait for memory, not for the multiply-adds); of a
step they are 6 B Σ n_in n_out - 2 B n_0 n_1. Nothing is subtracted. Run it on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from statistics import median

import fastbp
from benchmarks import kernels, shapes
from fastbp.bench import cases, report
from fastbp.bench.measure import THREADS_OF_LIBRARIES
from fastbp.team import available_cores

GEMM = """
import sys, time
import numpy as np
n, dtype = int(sys.argv[1]), sys.argv[2]
a, b, c = (np.full((n, n), 0.5, dtype) for _ in range(3))
best = 1.0
for _ in range(20):
    start = time.perf_counter()
    np.matmul(a, b, out=c)
    best = min(best, time.perf_counter() - start)
print(2 * n**3 / best)
"""
GEMM_SIZE = 768

Rate = Callable[[], float]  # operations per second, measured now
Figure = tuple[float, float]  # GF/s, share of the peak


def gemm(dtype: str) -> float:
    """Of NumPy's BLAS on one thread, in a process of its own; the best of 20 products."""
    environment = os.environ | dict.fromkeys(THREADS_OF_LIBRARIES, "1")
    command = [sys.executable, "-c", GEMM, str(GEMM_SIZE), dtype]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def rate_of(work: kernels.Work) -> Rate:
    return lambda: work.operations / work.seconds()


def rate_of_step(case: cases.Case, threads: int) -> Rate:
    """Of whole steps: the fastest epoch of one call of fit."""
    model = fastbp.Model(case.sizes, case.hidden, case.output, case.loss, dtype=case.dtype, initial=cases.initial(case))
    X, y = cases.data(case)

    def rate() -> float:
        history = model.fit(X, y, max(3, case.epochs), case.batch, n_threads=threads)
        return case.flops * case.steps / float(history.seconds.min())

    rate()
    return rate


def measured(rate: Rate, peak: Rate, rounds: int) -> Figure:
    """Medians."""
    pairs = [(peak(), rate()) for _ in range(rounds)]
    return median(value for _, value in pairs) / 1e9, median(value / top for top, value in pairs)


def shown(figure: Figure) -> str:
    return f"{figure[0]:.1f} {100 * figure[1]:3.0f}%"


def kernel_figures(dtype: str, peak: Rate, rounds: int) -> dict[str, list[Figure]]:
    """By width; printed line by line."""
    figures = {}
    print(f"\n{f'one core, {kernels.EXAMPLES} examples; width':28}" + "".join(f"{w:>12}" for w in kernels.WIDTHS))
    for name, make in kernels.KERNELS.items():
        figures[name] = [measured(rate_of(make(width, dtype)), peak, rounds) for width in kernels.WIDTHS]
        print(f"{name:28}" + "".join(f"{shown(figure):>12}" for figure in figures[name]), flush=True)
    return figures


def step_figures(dtype: str, peak: Rate, rounds: int) -> dict[str, list[Figure]]:
    """By number of threads, against the peak of as many cores; printed line by line."""
    figures = {}
    counts = sorted({1, min(2, available_cores())})
    print(f"\n{'a whole step; threads':28}" + "".join(f"{count:>12}" for count in counts))
    for case in shapes.table("cross_entropy", dtype, "adam"):
        if case.task == "fit" and case.flops > 1e5:  # T and J are all overhead
            name = f"{case.name} {case}"
            figures[name] = [
                measured(rate_of_step(case, count), lambda count=count: count * peak(), rounds) for count in counts
            ]
            print(f"{name:28}" + "".join(f"{shown(figure):>12}" for figure in figures[name]), flush=True)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=kernels.DTYPES, default="float32")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--only", choices=("kernels", "steps"), help="one of the two tables")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    peak, rounds = rate_of(kernels.peak(options.dtype)), options.rounds
    figures = {
        "peak": median(peak() for _ in range(rounds)) / 1e9,
        "gemm": measured(lambda: gemm(options.dtype), peak, min(rounds, 3)),
    }
    print(f"{options.dtype}, {report.machine()}\npeak of one core {figures['peak']:.1f} GF/s")
    print(f"NumPy's BLAS, {GEMM_SIZE} x {GEMM_SIZE}: {shown(figures['gemm'])}")
    for name, table in (("kernels", kernel_figures), ("steps", step_figures)):
        if options.only in (None, name):
            figures[name] = table(options.dtype, peak, rounds)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": report.machine(), "widths": kernels.WIDTHS, **figures}, file, indent=1)


if __name__ == "__main__":
    main()
