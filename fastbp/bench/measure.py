"""Interleaved rounds of several libraries, each in a separate process that runs `fastbp.bench.backend`."""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import fastbp
from fastbp.bench.cases import Case

OWN = "fastbp"
PROGRAM = """
import importlib, sys, types
folder, name = sys.argv[1:3]
if name != "fastbp":
    fastbp = sys.modules["fastbp"] = types.ModuleType("fastbp")
    fastbp.__path__ = [folder]
importlib.import_module("fastbp.bench.backend").main(sys.argv[2:])
"""
"""Another library's process gets an empty fastbp package with the path alone: no numba, and none of our kernels."""
WARM_UPS = 2
SETTLE = 0.25  # seconds before a turn: idle threads of the previous library spin for up to 0.2
TOO_SLOW = 3  # times as long as the same library with another number of threads
THREADS_OF_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Measured:
    """One library with one number of threads on one case: microseconds per step in each round, and the cost."""

    name: str
    threads: int | None
    microseconds: list[float] = field(default_factory=list)
    cost: float | None = None
    unable: str | None = None

    @property
    def label(self) -> str:
        return self.name if self.threads is None else f"{self.name}, {self.threads} thread{'s' * (self.threads > 1)}"

    def ratio_to(self, other: "Measured") -> float:
        """How many times as long as the other: the median over the rounds."""
        return median(a / b for a, b in zip(self.microseconds, other.microseconds, strict=True))


class Backend:
    """A library in its process."""

    def __init__(self, name: str, threads: int | None) -> None:
        self.name, self.threads = name, threads
        command = [sys.executable, "-c", PROGRAM, fastbp.__path__[0], name]
        environment = dict(os.environ)
        if threads:
            command += ["--threads", str(threads)]
            environment |= dict.fromkeys(THREADS_OF_LIBRARIES, str(threads))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.requests: Any = self.process.stdin
        self.responses: Any = self.process.stdout
        self.greeting = self.receive()

    @property
    def left_out(self) -> str | None:
        """Why this library cannot be measured; None if it can."""
        if "missing" in self.greeting:
            return f"{self.name} is not installed"
        return f"{self.name} is left out: {self.greeting['unable']}" if "unable" in self.greeting else None

    def receive(self) -> dict[str, Any]:
        line = self.responses.readline()
        return dict(json.loads(line)) if line else {"unable": f"ended with exit code {self.process.wait()}"}

    def request(self, name: str, argument: Any = True) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # the response has the reason
            print(json.dumps({name: argument}), file=self.requests, flush=True)
        return self.receive()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the process has ended
            self.requests.close()
        self.process.wait()
        self.responses.close()


def start_backends(names: Iterable[str], threads: Iterable[int]) -> tuple[list[Backend], list[str]]:
    """One process for fastbp, one for each other library and number of threads; and why a library is left out.

    fastbp chooses its number of threads, unless the only number is 1.
    """
    started, left_out = [Backend(OWN, 1 if list(threads) == [1] else None)], []
    if started[0].left_out:
        raise ImportError(started[0].left_out)
    for name in names:
        for count in threads:
            backend = Backend(name, count)
            if backend.left_out:
                left_out.append(backend.left_out)
                backend.close()
                break
            started.append(backend)
    return started, left_out


def measure(case: Case, processes: list[Backend], rounds: int) -> list[Measured]:
    """All backends in turns, each round starting with another one; without those whose warm-up was too slow."""
    results = [Measured(backend.name, backend.threads) for backend in processes]
    seconds = [warm_up(*pair, case) for pair in zip(processes, results, strict=True)]
    fastest = {result.name: math.inf for result in results}
    for result, last in zip(results, seconds, strict=True):
        fastest[result.name] = min(fastest[result.name], last)
    running = [
        (backend, result)
        for backend, result, last in zip(processes, results, seconds, strict=True)
        if last < math.inf and last <= TOO_SLOW * fastest[result.name]
    ]
    for i in range(rounds if running else 0):
        first = i % len(running)
        for backend, result in running[first:] + running[:first]:
            time.sleep(SETTLE)
            elapsed = backend.request("run").get("seconds", math.nan)
            result.microseconds.append(elapsed / (case.steps * case.epochs) * 1e6)
    for backend, result in running:
        result.cost = backend.request("cost").get("cost")
    return results


def warm_up(backend: Backend, result: Measured, case: Case) -> float:
    """Prepare the case and run it; seconds of the last run, infinite if there is none."""
    response = backend.request("prepare", asdict(case))
    for _ in range(WARM_UPS):
        if "unable" not in response:
            time.sleep(SETTLE)
            response = backend.request("run")
    result.unable = response.get("unable")
    return float(response.get("seconds", math.inf))


def best(results: list[Measured]) -> dict[str, Measured]:
    """For each library, the result with the fastest number of threads."""
    chosen: dict[str, Measured] = {}
    for result in results:
        if result.microseconds:
            other = chosen.get(result.name)
            if other is None or median(result.microseconds) < median(other.microseconds):
                chosen[result.name] = result
    return chosen
