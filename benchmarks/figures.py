"""The figures that README and notes quote, measured now: `python -m benchmarks.figures [steps] [start] [digits]`.

steps: microseconds per Adam step. start: seconds of a first fit with an empty and with a filled kernel cache, beside a
process that imports numba and runs one trivial cached function. digits: accuracy on held-out digits over ten seeds.
Measurements are taken in interleaved rounds; minima and medians are printed. Run it on an idle machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import fastbp
from benchmarks import shapes
from benchmarks.bench_start import PROGRAMS, TRIVIAL
from benchmarks.bench_step import Fit
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


FIGURES = {"steps": steps, "start": start, "digits": digits}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(FIGURES)
    if unknown := set(wanted) - set(FIGURES):
        raise SystemExit(f"unknown figures {sorted(unknown)}; there are {', '.join(FIGURES)}")
    for name in wanted:
        FIGURES[name]()
