"""JAX and mlpfile, for `benchmarks.derivatives`: the same derivatives as calls from Python."""

import importlib.util
import os
from typing import Any

import fastbp
from benchmarks.derivative_calls import Run, numbers

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def missing(package: str) -> bool:
    """Whether the package is not installed."""
    return importlib.util.find_spec(package) is None


def jax_runs(model: fastbp.Model, rows: int) -> dict[str, Run]:
    """JAX's jitted jvp, vjp and hvp of the same tanh network and cost, with all arguments in JAX's memory."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", ONE_THREAD)
    import jax
    import jax.numpy as jnp

    def outputs(layers: Any, x: Any) -> Any:
        for w, b in layers[:-1]:
            x = jnp.tanh(x @ w + b)
        w, b = layers[-1]
        return x @ w + b

    def cost(layers: Any, x: Any, y: Any) -> Any:
        return ((outputs(layers, x) - y) ** 2).sum() / len(x)

    def hvp(layers: Any, x: Any, y: Any, v: Any) -> Any:
        return jax.jvp(lambda at: jax.grad(cost)(at, x, y), (layers,), (v,))[1]

    n_in, n_out = model.network.n_inputs, model.network.n_outputs
    layers = [(jnp.array(w.T), jnp.array(b)) for w, b in zip(model.weights, model.biases, strict=True)]
    v = jax.tree.map(lambda part: jnp.array(numbers(*part.shape)), layers)
    x, dx = jnp.array(numbers(rows, n_in)), jnp.array(numbers(rows, n_in, seed=1))
    y = jnp.array(numbers(rows, n_out))
    calls = {
        "jvp in X": (lambda x, dx: jax.jvp(lambda at: outputs(layers, at), (x,), (dx,)), (x, dx)),
        "jvp in theta": (lambda at, v: jax.jvp(lambda p: outputs(p, x), (at,), (v,)), (layers, v)),
        "vjp": (lambda at, x, c: jax.vjp(outputs, at, x)[1](c), (layers, x, y)),
        "hvp": (hvp, (layers, x, y, v)),
    }

    def repeated(function: Any, arguments: Any) -> Run:
        jitted = jax.jit(function)

        def run(times: int) -> None:
            for _ in range(times):
                jax.block_until_ready(jitted(*arguments))

        return run

    return {name: repeated(function, arguments) for name, (function, arguments) in calls.items()}


def mlpfile_runs(sizes: tuple[int, ...]) -> dict[str, Run]:
    """mlpfile's forward and jacobian of a random relu network, for one row, and what a call from Python costs there:
    that of a network with one hidden unit, with the same inputs and outputs.
    """
    import mlpfile

    x = numbers(sizes[0])

    def repeated(method: Any) -> Run:
        def run(times: int) -> None:
            for _ in range(times):
                method(x)

        return run

    whole = mlpfile.Model.random(sizes[0], list(sizes[1:-1]), sizes[-1])
    least = mlpfile.Model.random(sizes[0], [1], sizes[-1])
    return {
        "forward": repeated(whole.forward),
        "jacobian": repeated(whole.jacobian),
        "call of forward": repeated(least.forward),
        "call of jacobian": repeated(least.jacobian),
    }
