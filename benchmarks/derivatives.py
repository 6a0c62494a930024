"""How long derivatives take, beside their goals: `python -m benchmarks.derivatives [--rounds N] [--only NAME,…]`.

Within fastbp: ratios to a prediction, to a cost and gradient, or to a step of training, in compiled code on the
caller's memory. Then beside JAX and mlpfile, the seconds of a cost and gradient, and those of each first call. All in
CPU seconds of one thread, as medians of the ratios within interleaved rounds. Run it on an idle machine.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import fastbp
from benchmarks.derivative_calls import (
    Run,
    compiled,
    deltas_of_inputs,
    has_compiled,
    network,
    norms,
    numbers,
    python,
    ratio,
    seconds,
    taylor,
)
from benchmarks.derivatives_beside import jax_runs, missing, mlpfile_runs

Sizes = tuple[int, ...]
Network = tuple[Sizes, int]  # and its rows
A: Network = ((13, 32, 32, 2), 32)
B: Network = ((8, 64, 64, 4), 64)
E: Network = ((784, 128, 10), 128)
J: Network = ((40, 100, 100, 10), 1)
ROW: Network = ((13, 32, 32, 2), 1)
ALL = (B, A, E, J, ROW)


class Row(NamedTuple):
    """A line of the table: what was measured, in a unit, and the goal: at most (or at least) so much; None for none."""

    what: str
    network: str
    measured: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        if self.goal is None:
            return ""
        met = self.measured >= self.goal if self.at_least else self.measured <= self.goal
        return "ok" if met else "missed"

    def __str__(self) -> str:
        word = "at least" if self.at_least else "at most"
        asked = "" if self.goal is None else f"{word} {self.goal:.3g}"
        return f"{self.what:48} {self.network:20} {asked:14} {self.measured:8.3f} {self.unit:13} {self.verdict}"


class Skipped(NamedTuple):
    """A line for what cannot be measured."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what:48} skipped: {self.why}"


Lines = Iterator[Row | Skipped]


def text_of(sizes: Sizes, rows: int) -> str:
    """A network and its rows: 13-32-32-2:32."""
    return "-".join(map(str, sizes)) + f":{rows}"


# --- within fastbp --------------------------------------------------------------------------------------------------


class Goal(NamedTuple):
    """What a function of `fastbp.jit` may cost, in calls of the base. without: arrays that are None."""

    says: str
    what: str
    most: float | None
    base: str
    networks: tuple[Network, ...] = ALL
    without: tuple[str, ...] = ()
    inputs: bool = False  # the deltas of the inputs are allowed for, too


BASES = {"predictions": "predict", "gradients": "value_and_gradient"}
GOALS = {
    "input_gradient": Goal("input_gradient", "vjp", 2.5, "predictions", without=("dtheta",)),
    "jvp_inputs": Goal("jvp in X", "jvp", 2.5, "predictions", without=("dtheta",)),
    "jvp_theta": Goal("jvp in theta", "jvp", 3.5, "predictions", without=("dX",)),
    "vjp_theta": Goal("vjp, dtheta", "vjp", 1.2, "gradients", without=("dX",)),
    "vjp": Goal("vjp, dX and dtheta", "vjp", 1.2, "gradients", inputs=True),
    "input_jacobian": Goal("input_jacobian", "input_jacobian", None, "predictions"),
    "hessian": Goal("hessian_vector_product", "hessian_vector_product", 3, "gradients"),
    "gauss_newton": Goal("gauss_newton_vector_product", "gauss_newton_vector_product", 3, "gradients"),
    "example_gradients": Goal("example_gradients", "example_gradients", 2.5, "gradients", (A,)),
}


def in_calls(goal: Goal, rounds: int) -> Lines:
    """The function in calls of the base, both in compiled loops, for each network."""
    for sizes, rows in goal.networks:
        model = network(sizes)
        if has_compiled(goal.what):
            run, says = compiled(model, goal.what, rows, goal.without), goal.says
        elif hasattr(model, goal.what):
            X, y = numbers(rows, sizes[0]), numbers(rows, sizes[-1])
            v = [numbers(model.parameters.size)] if goal.what.endswith("vector_product") else []
            run, says = python(getattr(model, goal.what), X, y, *v), f"{goal.says}, from Python"
        else:
            yield Skipped(goal.says, f"this fastbp has no {goal.what}")
            return
        measured = seconds({"it": run, "base": compiled(model, BASES[goal.base], rows)}, rounds)
        most = goal.most
        if most is not None and goal.inputs:
            most += deltas_of_inputs(sizes)
        yield Row(says, text_of(sizes, rows), ratio(measured, "it", "base"), goal.base, most)


def in_curves(rounds: int) -> Lines:
    """Taylor coefficients of order 2 along one direction, in predictions."""
    for sizes, rows in ALL:
        model = network(sizes)
        measured = seconds({"it": taylor(model, rows)[0], "base": compiled(model, "predict", rows)}, rounds)
        yield Row("taylor of order 2", text_of(sizes, rows), ratio(measured, "it", "base"), "predictions", 4)


def in_norms(rounds: int) -> Lines:
    """The norms of the gradients of single examples, in gradients."""
    if not hasattr(fastbp.Model, "example_gradient_norms"):
        yield Skipped("example_gradient_norms", "this fastbp has no example_gradient_norms")
        return
    sizes, rows = A
    model = network(sizes)
    measured = seconds({"it": norms(model, rows)[0], "base": compiled(model, "value_and_gradient", rows)}, rounds)
    yield Row("example_gradient_norms", text_of(sizes, rows), ratio(measured, "it", "base"), "gradients", 1.2)


STEPS = 100
A_FIT = 0.05  # CPU seconds of one measurement, beside which the start of a fit is nothing


def training(model: fastbp.Model, batch: int, **data: Any) -> Run:
    """Epochs of fit on one thread, from Python: the call costs little beside the steps."""
    X, y = numbers(STEPS * batch, model.network.n_inputs), numbers(STEPS * batch, model.network.n_outputs, seed=1)
    return lambda times: model.fit(X, y, epochs=times, batch_size=batch, n_threads=1, **data)


def with_derivatives(rounds: int) -> Lines:
    """fit with derivatives of one output by three inputs, in plain steps."""
    for sizes, batch in (((3, 64, 64, 1), 64), ((3, 32, 32, 1), 32)):
        dy = numbers(STEPS * batch, 1, 3, seed=2)
        runs = {"it": training(network(sizes), batch, dy=dy), "base": training(network(sizes), batch)}
        yield Row("fit with dy", text_of(sizes, batch), ratio(seconds(runs, rounds, A_FIT), "it", "base"), "steps", 4)


def standardized(rounds: int) -> Lines:
    """Steps of a scaled network, in plain steps."""
    for sizes, batch in (B, A, E):
        runs = {kind: training(network(sizes, standardize=kind), batch) for kind in (None, "inputs", "both")}
        measured = seconds({str(kind): run for kind, run in runs.items()}, rounds, A_FIT)
        for kind in ("inputs", "both"):
            yield Row(f"fit, standardize={kind!r}", text_of(sizes, batch), ratio(measured, kind, "None"), "steps", 1.03)


def cost_and_gradient(rounds: int) -> Lines:
    """Microseconds, beside those that SimpleChains.jl publishes (of another machine)."""
    sizes, rows = (24, 8, 2), 200
    run = compiled(network(sizes, "float64"), "value_and_gradient", rows)
    microseconds = 1e6 * median(seconds({"it": run}, rounds)["it"])
    yield Row("cost and gradient, float64; SimpleChains 5.66", text_of(sizes, rows), microseconds, "microseconds", 5.66)


# --- beside other libraries -----------------------------------------------------------------------------------------

CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "jvp in X": ("jvp", ("dtheta",)),
    "jvp in theta": ("jvp", ("dX",)),
    "vjp": ("vjp", ()),
    "hvp": ("hessian_vector_product", ()),
}


def beside_jax(rounds: int) -> Lines:
    """How many times as long JAX's jitted functions take as ours, from Python and in a compiled loop."""
    if missing("jax"):
        yield Skipped("beside JAX", "jax is not installed")
        return
    for (sizes, rows), goal in ((B, 3), (E, 1.2)):
        model = network(sizes)
        X, c = numbers(rows, sizes[0]), numbers(rows, sizes[-1])
        along, v = numbers(rows, sizes[0], seed=1), numbers(model.parameters.size)
        arguments: dict[str, tuple[Any, ...]] = {
            "jvp in X": (X, along), "jvp in theta": (X, None, v), "vjp": (X, c), "hvp": (X, c, v),
        }  # fmt: skip
        for name, theirs in jax_runs(model, rows).items():
            what, without = CALLS[name]
            if not hasattr(model, what):
                yield Skipped(f"JAX's time, {name}", f"this fastbp has no {what}")
                continue
            runs = {"theirs": theirs, "from Python": python(getattr(model, what), *arguments[name])}
            if has_compiled(what):
                runs["compiled"] = compiled(model, what, rows, without)
            measured = seconds(runs, rounds)
            for way in list(runs)[1:]:
                times = ratio(measured, "theirs", way)
                yield Row(f"JAX's time, {name}, {way}", text_of(sizes, rows), times, "of ours", goal, at_least=True)


def beside_mlpfile(rounds: int) -> Lines:
    """Ours in a compiled loop in mlpfile's times: of its calls from Python, and of these without what a call costs."""
    if missing("mlpfile"):
        yield Skipped("beside mlpfile", "mlpfile is not installed")
        return
    sizes, rows = J
    model, theirs = network(sizes, hidden="relu"), mlpfile_runs(sizes)
    for name, what, most in (("forward", "predict", 1), ("jacobian", "input_jacobian", 0.5)):
        call = f"call of {name}"
        runs = {name: theirs[name], call: theirs[call], "ours": compiled(model, what, rows)}
        measured = seconds(runs, rounds)
        yield Row(f"{what}, relu", text_of(sizes, rows), ratio(measured, "ours", name), f"mlpfile's {name}", most)
        without = [a - b for a, b in zip(measured[name], measured[call], strict=True)]
        times = ratio(measured | {"computing": without}, "ours", "computing")
        yield Row(f"{what}, relu, without its call", text_of(sizes, rows), times, f"mlpfile's {name}", most)


# --- first calls ----------------------------------------------------------------------------------------------------

FIRST = """
import time
import numpy as np
import fastbp
model = fastbp.Model((3, 8, 2), loss="squared_error", hidden="tanh", dtype="float32")
X, y, theta = np.ones((8, 3), "f4"), np.ones((8, 2), "f4"), np.ones(model.parameters.size, "f4")
begin = time.process_time()
{call}
print(time.process_time() - begin)
"""
IMPORT = "import time; begin = time.process_time(); import fastbp; print(time.process_time() - begin)"
FIRST_CALLS = {
    "predict": "predict(X)",
    "value_and_gradient": "value_and_gradient(X, y)",
    "fit": "fit(X, y, epochs=1)",
    "jvp": "jvp(X, X, theta)",
    "vjp": "vjp(X, y)",
    "input_gradient": "input_gradient(X, y)",
    "input_jacobian": "input_jacobian(X)",
    "input_hessian": "input_hessian(X)",
    "parameter_jacobian": "parameter_jacobian(X)",
    "example_gradients": "example_gradients(X, y)",
    "example_gradient_norms": "example_gradient_norms(X, y)",
    "hessian_vector_product": "hessian_vector_product(X, y, theta)",
    "gauss_newton_vector_product": "gauss_newton_vector_product(X, y, theta)",
    "taylor": "taylor(X, X, order=2)",
    "taylor_vjp": "taylor_vjp(X, X, (y, y, y))",
    "fit with dy": "fit(X, y, epochs=1, dy=np.ones((8, 2, 3), 'f4'))",
}


def printed(program: str) -> float:
    """The number that a fresh process with an empty kernel cache prints."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    return float(ran.stdout)


def first_calls(rounds: int) -> Lines:
    """CPU seconds of each first call: its kernels and those of the network are compiled."""
    yield Row("import fastbp", "", median(printed(IMPORT) for _ in range(min(rounds, 5))), "seconds")
    for name, call in FIRST_CALLS.items():
        if hasattr(fastbp.Model, call[: call.index("(")]):
            yield Row(f"first call of {name}", "3-8-2:8", printed(FIRST.format(call=f"model.{call}")), "seconds")
        else:
            yield Skipped(f"first call of {name}", f"this fastbp has no {name}")


# --- the table ------------------------------------------------------------------------------------------------------

TABLE: dict[str, Callable[[int], Lines]] = {
    **{name: functools.partial(in_calls, goal) for name, goal in GOALS.items()},
    "norms": in_norms,
    "taylor": in_curves,
    "dy": with_derivatives,
    "standardize": standardized,
    "gradient": cost_and_gradient,
    "jax": beside_jax,
    "mlpfile": beside_mlpfile,
    "first": first_calls,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.derivatives", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", metavar="NAME,…", default=",".join(TABLE), help=f"of {', '.join(TABLE)}")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := set(names) - set(TABLE):
        parser.error(f"--only takes {', '.join(TABLE)}, got {', '.join(sorted(unknown))}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for name in names:
        for line in TABLE[name](options.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
