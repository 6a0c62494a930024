"""Everything that people do to a library at once, over and over: `python -m tests.stress --minutes 60`.

Each scenario runs in a separate process, with a time limit: a hang is a failure. Its fits must give the bits that a fit
left alone gives. The program ends with how often each scenario ran, and fails if one failed or did not run at all.
`tests/behaviour/test_stress.py` runs each scenario once.
"""

import argparse
import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import fastbp

LIMIT = 120.0  # seconds for a scenario
WARM_UP = 60  # fits before memory, threads and handles are counted
TINY_SHARE = 0.2  # of the time
SEED = 1


def fitted(dtype: str = "float32", n_threads: int | None = 2) -> np.ndarray:
    """The parameters after a short fit."""
    rng = np.random.default_rng(SEED)
    X, y = rng.normal(size=(512, 16)), rng.integers(0, 4, 512)
    model = fastbp.Model((16, 32, 32, 4), output="softmax", dtype=dtype, seed=SEED)
    model.fit(X, y, epochs=5, batch_size=64, n_threads=n_threads)
    return model.parameters


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.tobytes() == expected.tobytes(), "other bits than those of a fit left alone"


def in_child(expected: np.ndarray) -> None:
    """Fork; the child fits, and the parent waits for it."""
    pid = os.fork()
    if pid == 0:
        outcome = 1
        try:
            assert_same(fitted(), expected)
            outcome = 0
        finally:
            os._exit(outcome)
    assert os.waitpid(pid, 0)[1] == 0, "the forked child failed"


@contextlib.contextmanager
def fitting(threads: int) -> Iterator[list[np.ndarray]]:
    """Python threads fit, again and again, for as long as the block lasts."""
    enough, results = threading.Event(), []

    def work() -> None:
        while not enough.is_set():
            results.append(fitted())

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield results
    finally:
        enough.set()
        for worker in workers:
            worker.join()


def status(name: str) -> int:
    """A number of /proc/self/status: VmRSS in kB, Threads."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


# --- scenarios --------------------------------------------------------------------------------------------------------


def tiny_fits(fits: int = 600, seconds: float = math.inf) -> int:
    """Memory stays flat, and no thread and no file handle is left. Returns how many fits the time was enough for."""
    X, y = np.eye(4, 2), np.ones(4)
    model, last, done = fastbp.Model((2, 3, 1), seed=SEED), time.monotonic() + seconds, 0
    for i in range(fits):
        if time.monotonic() > last and done > WARM_UP:
            break
        if i == WARM_UP:
            before = status("VmRSS"), status("Threads"), len(os.listdir("/proc/self/fd"))
        if i % 2:
            model = fastbp.Model((2, 3, 1), seed=SEED)
        model.fit(X, y, epochs=1, n_threads=1 + i % 2)
        done += 1
    grown = status("VmRSS") - before[0]
    assert grown < 2000, f"{grown} kB more after {done} fits"
    end = time.monotonic() + 5
    while status("Threads") > before[1] and time.monotonic() < end:  # a joined thread may still be on its way out
        time.sleep(0.01)
    assert status("Threads") <= before[1], "threads are left"  # some were perhaps on their way out before, too
    assert len(os.listdir("/proc/self/fd")) == before[2], "file handles are left"
    return done


def fork_before_a_fit() -> None:
    fastbp.Model((16, 32, 32, 4), output="softmax")
    pid = os.fork()
    if pid == 0:
        fitted()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, "the forked child failed"
    fitted()


def fork_during_a_fit_of_another_thread() -> None:
    expected = fitted()
    with fitting(threads=1) as results:
        for _ in range(10):
            time.sleep(random.uniform(0, 0.02))
            in_child(expected)
    for found in results:
        assert_same(found, expected)


def fork_after_a_fit() -> None:
    expected = fitted()
    in_child(expected)
    assert_same(fitted(), expected)


def spawn() -> None:
    from multiprocessing import get_context

    expected = fitted()
    with get_context("spawn").Pool(2) as pool:
        for found in [pool.apply_async(fitted), pool.apply_async(fitted)]:
            assert_same(found.get(LIMIT), expected)


def loky() -> None:
    from joblib import Parallel, delayed

    expected = fitted()
    for found in Parallel(n_jobs=2)(delayed(fitted)() for _ in range(4)):
        assert_same(found, expected)


def eight_python_threads() -> None:
    expected = fitted()
    with fitting(threads=8) as results:
        while len(results) < 24:
            time.sleep(0.01)
    for found in results:
        assert_same(found, expected)


def a_busy_machine() -> None:
    """A busy loop on every core, and eight workers."""
    expected = fitted()
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        for n_threads in (1, 2, 8, None):
            assert_same(fitted(n_threads=n_threads), expected)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def sigterm() -> None:
    """It ends the process at any moment, as it ends any other."""
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import stress; print(0, flush=True)\n"
    program += "while True: stress.fitted()"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(random.uniform(0.1, 1.0))
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM


def a_home_that_cannot_be_written() -> None:
    environment = {**os.environ, "HOME": "/proc", "XDG_CACHE_HOME": "/proc", "NUMBA_CACHE_DIR": "/proc/none"}
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import stress; stress.fitted()"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=LIMIT)


def a_cache_folder_that_disappears() -> None:
    folder = tempfile.mkdtemp()
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import stress, shutil; stress.fitted()\n"
    )
    program += f"shutil.rmtree({folder!r}); stress.fitted('float64'); stress.fitted()"
    try:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=LIMIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


SCENARIOS: dict[str, Callable[[], None]] = {
    scenario.__name__: scenario
    for scenario in (
        tiny_fits, fork_before_a_fit, fork_during_a_fit_of_another_thread, fork_after_a_fit, spawn, loky,
        eight_python_threads, a_busy_machine, sigterm, a_home_that_cannot_be_written, a_cache_folder_that_disappears,
    )
}  # fmt: skip


# --- running them -----------------------------------------------------------------------------------------------------


def run(name: str) -> str:
    """Nothing if the scenario went well in a separate process, else what went wrong."""
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, "--one", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that a scenario that hangs is killed with all its children
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"no end within {LIMIT:.0f} s: {process.communicate()[0][-2000:]}"
    return "" if process.returncode == 0 else f"exit code {process.returncode}: {output[-2000:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--one", choices=SCENARIOS, help="this scenario, once, in this process")
    parser.add_argument("--fits", type=int, default=100_000, help="tiny fits at the beginning, at most")
    options = parser.parse_args()
    if options.one:
        SCENARIOS[options.one]()
        return 0
    end, done, failures = time.monotonic() + 60 * options.minutes, Counter[str](), Counter[str]()
    fits = tiny_fits(options.fits, 60 * options.minutes * TINY_SHARE)
    print(f"{fits} tiny fits: memory flat, no thread and no file handle left", flush=True)
    while time.monotonic() < end:
        for name in random.sample(list(SCENARIOS), len(SCENARIOS)):
            if trouble := run(name):
                failures[name] += 1
                print(f"{name}: {trouble}", flush=True)
            done[name] += 1
            if time.monotonic() >= end:
                break
    return report(done, failures)


def report(done: Counter[str], failures: Counter[str]) -> int:
    """Prints how often each scenario ran and failed; returns the exit code, 1 if one failed or did not run."""
    for name in SCENARIOS:
        print(f"{done[name]:6} x {name.replace('_', ' ')}, {failures[name]} failed")
    if missing := [name for name in SCENARIOS if not done[name]]:
        print(f"not run for want of time: {', '.join(missing)}")
    return 1 if failures or missing else 0


if __name__ == "__main__":
    sys.exit(main())
