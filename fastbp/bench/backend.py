"""One library in a separate process, which `fastbp.bench.measure` starts with NAME [--threads N].

It responds to each line of JSON on standard input with one on standard output:

    {"prepare": case}    {"ready": true}, or {"unable": why}: makes data and network
    {"run": true}        {"seconds": s}: one round
    {"cost": true}       {"cost": c}: over all data, at the parameters reached

A failure is answered with {"unable": why}, too. The first line, before any question, is {"version": …},
{"missing": package} or {"unable": why}.
"""

import argparse
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from fastbp.bench import cases
from fastbp.bench.backends import Task

NAMES = {"fastbp": "fastbp_", "torch": "torch_", "jax": "jax_", "scikit-learn": "sklearn_"}


class Session:
    """The case under way."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.task: Task
        self.case: cases.Case
        self.y: cases.Array

    def prepare(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.case = cases.Case(**{**fields, "sizes": tuple(fields["sizes"])})
        if self.case.task not in self.library.tasks:
            return {"unable": f"no {self.case.task}"}
        X, self.y = cases.data(self.case)
        self.task = self.library.tasks[self.case.task](self.case, X, self.y, cases.initial(self.case))
        return {"ready": True}

    def run(self, _: bool) -> dict[str, Any]:
        start = time.perf_counter()
        self.task.run()
        return {"seconds": time.perf_counter() - start}

    def cost(self, _: bool) -> dict[str, Any]:
        return {"cost": cases.cost(self.case, self.task.outputs(), self.y)}


def serve(library: Any, responses: TextIO) -> None:
    """Respond to requests until the input ends."""

    def send(response: dict[str, Any]) -> None:
        print(json.dumps(response), file=responses, flush=True)

    if missing := [name for name in library.packages if importlib.util.find_spec(name) is None]:
        return send({"missing": missing[0]})
    try:
        send({"version": library.version()})
    except Exception as error:  # installed, but not usable
        return send({"unable": f"{type(error).__name__}: {error}"})
    session = Session(library)
    for line in sys.stdin:
        [(name, argument)] = json.loads(line).items()
        try:
            send(getattr(session, name)(argument))
        except Exception as error:
            send({"unable": f"{type(error).__name__}: {error}"})
    return None


def main(arguments: Sequence[str]) -> None:
    """Load the library and respond to requests until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--threads", type=int, help="of the library; default: its own choice")
    options = parser.parse_args(arguments)
    responses = os.fdopen(os.dup(1), "w")  # what a library prints goes elsewhere
    os.dup2(2, 1)
    library = importlib.import_module(f"fastbp.bench.backends.{NAMES[options.name]}")
    library.set_threads(options.threads)
    serve(library, responses)
