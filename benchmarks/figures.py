"""The figures that README and notes quote, measured now: `python -m benchmarks.figures [NAME …]`, all without names.

steps: microseconds per Adam step. start: seconds of a first fit with an empty and with a filled kernel cache, beside a
process that imports numba and runs one trivial cached function. digits: accuracy on held-out digits over ten seeds.
check: nanoseconds of a row predicted in compiled code, with and without the comparison that knows a foreign table.
Measurements are taken in interleaved rounds; minima and medians are printed. Run it on an idle machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numba
import numpy as np
from numba.extending import register_jitable

import fastbp
import fastbp.jit
from benchmarks import shapes
from benchmarks.bench_start import PROGRAMS, TRIVIAL
from benchmarks.bench_step import Fit
from fastbp.core import slots
from fastbp.data import load_digits, stratified_split

ROUNDS = 9
STEP_ROUNDS = 40  # short ones: of two threads, both must have been left alone


def steps() -> None:
    """Microseconds per step inside fit, the fastest and the median epoch of all rounds."""
    chosen = [case for case in shapes.table("cross_entropy", "float32", "adam") if case.name in "ADE"]
    runs = {(str(case), threads): Fit(case, threads).microseconds for case in chosen for threads in (1, 2)}
    measured: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for _ in range(STEP_ROUNDS):
        for key, run in runs.items():
            measured[key].append(run())
    print(f"{'microseconds per Adam step, float32':40} minimum   median")
    for (name, threads), values in measured.items():
        print(f"{name + f', {threads} thread' + 's' * (threads > 1):40} {min(values):7.1f}  {median(values):7.1f}")


def process_seconds(code: str, cache: str) -> float:
    """Wall time of a fresh Python process that runs the code (from a file, which numba can cache)."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(cache, f"program{hash(code) % 1000}.py")
        if not os.path.exists(path):
            with open(path, "w") as file:
                file.write(code)
        start = time.perf_counter()
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        subprocess.run([sys.executable, path], check=True, env=environment, cwd=folder)
        return time.perf_counter() - start


def start() -> None:
    """Whole processes: trivial cached function, first fit with a warm cache, first fit with an empty one."""
    trivial, first_fit = Path(TRIVIAL).read_text(), PROGRAMS["fit"]
    with tempfile.TemporaryDirectory() as warm:
        process_seconds(trivial, warm)
        process_seconds(first_fit, warm)
        rows: dict[str, list[float]] = {"trivial": [], "warm": [], "cold": []}
        for _ in range(ROUNDS):
            rows["trivial"].append(process_seconds(trivial, warm))
            rows["warm"].append(process_seconds(first_fit, warm))
            with tempfile.TemporaryDirectory() as empty:
                rows["cold"].append(process_seconds(first_fit, empty))
    over = [w - t for w, t in zip(rows["warm"], rows["trivial"], strict=True)]
    print("seconds of a process                     minimum   median")
    for label, values in (
        ("numba, one trivial cached function", rows["trivial"]),
        ("fastbp, one fit, warm cache", rows["warm"]),
        ("   over the trivial one", over),
        ("fastbp, one fit, empty cache", rows["cold"]),
    ):
        print(f"{label:40} {min(values):7.2f}  {median(values):7.2f}")


def digits() -> None:
    """As `fastbp train digits` does, over ten seeds of the parameters and of the split."""
    X, y = load_digits()
    X = (X / 16).astype(np.float32)
    accuracies, seconds = [], []
    for seed in range(10):
        train, test = stratified_split(y, 0.2, seed)
        begin = time.perf_counter()
        model = fastbp.Model((64, 128, 128, 10), output="softmax", seed=seed)
        model.fit(X[train], y[train], epochs=40)
        seconds.append(time.perf_counter() - begin)
        accuracies.append(100 * model.evaluate(X[test], y[test])["accuracy"])
    print(f"digits, held out, 10 seeds: accuracy {min(accuracies):.2f} to {max(accuracies):.2f} %, median "
          f"{median(accuracies):.2f} %; training {min(seconds):.2f} to {max(seconds):.2f} s")  # fmt: skip


def looped() -> Callable[..., None]:
    @numba.njit
    def loop(net, theta, x, out, work, times):
        for _ in range(times):
            fastbp.jit.predict(net, theta, x, out, work)

    return loop


@register_jitable
def check_without_stamp(net, theta):
    """`embedded.check_table` without the check of the process."""
    if net.size <= slots.Net.process or net[slots.Net.version] != slots.VERSION or net[slots.Net.length] != net.size:
        raise ValueError("net")
    if net[slots.Net.size] != theta.itemsize:
        raise ValueError("theta")


def check() -> None:
    """Nanoseconds of CPU time of `fastbp.jit.predict` for one row of a 2-3-1 network, in interleaved rounds."""
    model, times = fastbp.Model((2, 3, 1), hidden="tanh", dtype="float64"), 1_000_000
    arguments = (model.compiled(), model.parameters, np.ones(2), np.empty(1), model.workspace())
    loops, real = {}, fastbp.jit.check_table
    for name, function in (("with", real), ("without", check_without_stamp)):
        fastbp.jit.check_table = function
        loops[name] = looped()
        loops[name](*arguments, 1)
    fastbp.jit.check_table = real
    measured: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(15):
        for name, loop in loops.items():
            begin = time.process_time()
            loop(*arguments, times)
            measured[name].append((time.process_time() - begin) / times * 1e9)
    for name, values in measured.items():
        print(f"one row in compiled code, {name} the check: {min(values):.2f} ns, median {median(values):.2f} ns")


FIGURES = {"steps": steps, "start": start, "digits": digits, "check": check}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(FIGURES)
    if unknown := set(wanted) - set(FIGURES):
        raise SystemExit(f"unknown figures {sorted(unknown)}; there are {', '.join(FIGURES)}")
    for name in wanted:
        FIGURES[name]()
