"""JAX: everything inside one jitted call, a scan over the mini-batches of an epoch; one core by affinity."""

import os
from typing import Any

from fastbp.bench.backends import Task
from fastbp.bench.cases import Array, Case, Layers, begins_of_steps

packages = ("jax",)


def set_threads(n: int | None) -> None:
    if n and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n:])
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_ENABLE_X64"] = "1"


def version() -> str:
    import jax

    return str(jax.__version__)


def network(case: Case, layers: Layers) -> tuple[Any, Any]:
    """The parameters, w transposed, and the network up to the last z."""
    import jax
    import jax.numpy as jnp

    sigma = jax.nn.relu if case.hidden == "relu" else jnp.tanh

    def forward(parameters: Any, x: Any) -> Any:
        for w, b in parameters[:-1]:
            x = sigma(x @ w + b)
        w, b = parameters[-1]
        return x @ w + b

    return [(jnp.array(w.T), jnp.array(b)) for w, b in layers], forward


def loss_of(case: Case, forward: Any) -> Any:
    import jax

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        z = forward(parameters, x)
        if case.loss == "cross_entropy":
            return -(y * jax.nn.log_softmax(z)).sum() / len(x)
        return ((z - y) ** 2).sum() / len(x)

    return loss


def outputs(case: Case, forward: Any, parameters: Any, X: Array) -> Array:
    import jax
    import numpy as np

    z = forward(parameters, X)
    return np.asarray(jax.nn.softmax(z) if case.output == "softmax" else z)


def targets_of(case: Case, y: Array) -> Array:
    """Classes as rows of 0 and 1, computed once: faster than indexing in each step."""
    import numpy as np

    return np.eye(case.sizes[-1], dtype=case.dtype)[y] if case.loss == "cross_entropy" else y


def update_of(case: Case) -> Any:
    """(parameters, moments m and v, t, gradients) -> the new parameters and moments."""
    import jax
    import jax.numpy as jnp

    rate, mu = case.learning_rate, case.momentum

    def adam(theta: Any, m: Any, v: Any, t: Any, g: Any) -> tuple[Any, Any, Any]:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return theta - rate / (1 - 0.9**t) * m / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v

    def sgd(theta: Any, m: Any, v: Any, t: Any, g: Any) -> tuple[Any, Any, Any]:
        m = mu * m + g
        return theta - rate * m, m, v

    rule = adam if case.optimizer == "adam" else sgd

    def update(theta: Any, m: Any, v: Any, t: Any, g: Any) -> tuple[Any, ...]:
        flat, tree = jax.tree.flatten(theta)
        leaves = zip(flat, *map(jax.tree.leaves, (m, v, g)), strict=True)
        parts = [rule(w, w_m, w_v, t, w_g) for w, w_m, w_v, w_g in leaves]
        return tuple(jax.tree.unflatten(tree, list(column)) for column in zip(*parts, strict=True))

    return update


def fit(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    import jax
    import jax.numpy as jnp

    parameters, forward = network(case, layers)
    slope_of, update = jax.grad(loss_of(case, forward)), update_of(case)
    batches = tuple(jnp.array(part.reshape(case.steps, case.batch, -1)) for part in (X, targets_of(case, y)))

    def step(state: Any, batch: Any) -> tuple[Any, None]:
        theta, m, v, t = state
        t = t + 1
        return (*update(theta, m, v, t, slope_of(theta, *batch)), t), None

    def epochs(state: Any, batches: Any) -> Any:
        return jax.lax.fori_loop(0, case.epochs, lambda _, state: jax.lax.scan(step, state, batches)[0], state)

    run_epochs = jax.jit(epochs, donate_argnums=0)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = [(parameters, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.zeros((), case.dtype))]

    def run() -> None:
        state[0] = jax.block_until_ready(run_epochs(state[0], batches))

    return Task(run, lambda: outputs(case, forward, state[0][0], X))


def step(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    """A jitted call for each mini-batch of NumPy's arrays."""
    import jax
    import jax.numpy as jnp

    parameters, forward = network(case, layers)
    value_and_slope, update = jax.value_and_grad(loss_of(case, forward)), update_of(case)
    targets = targets_of(case, y)

    def learn(state: Any, x_n: Any, y_n: Any) -> Any:
        theta, m, v, t = state
        cost, slope = value_and_slope(theta, x_n, y_n)
        return (*update(theta, m, v, t + 1, slope), t + 1), cost

    call = jax.jit(learn, donate_argnums=0)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = [(parameters, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.zeros((), case.dtype))]

    def run() -> None:
        for n in begins_of_steps(case):
            state[0], cost = call(state[0], X[n : n + case.batch], targets[n : n + case.batch])
            float(cost)

    return Task(run, lambda: outputs(case, forward, state[0][0], X))


def gradient(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    import jax
    import jax.numpy as jnp

    parameters, forward = network(case, layers)
    value_and_slope = jax.value_and_grad(loss_of(case, forward))
    x_all, y_all = jnp.array(X), jnp.array(targets_of(case, y))

    def step(state: Any, _: None) -> tuple[Any, None]:
        theta, cost = state
        value, slope = value_and_slope(theta, x_all, y_all)
        return (jax.tree.map(lambda p, g: p - case.learning_rate * g, theta, slope), cost + value), None

    descend = jax.jit(lambda state: jax.lax.scan(step, state, None, case.steps)[0], donate_argnums=0)
    state = [(parameters, jnp.zeros((), case.dtype))]

    def run() -> None:
        state[0] = jax.block_until_ready(descend(state[0]))

    return Task(run, lambda: outputs(case, forward, state[0][0], X))


def predict(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    import jax
    import jax.numpy as jnp

    parameters, forward = network(case, layers)
    last = jax.nn.softmax if case.output == "softmax" else lambda z: z
    call, x_all = jax.jit(lambda parameters, x: last(forward(parameters, x))), jnp.array(X)

    def run() -> None:
        for _ in range(case.steps):
            call(parameters, x_all).block_until_ready()

    return Task(run, lambda: outputs(case, forward, parameters, X))


tasks = {"fit": fit, "step": step, "gradient": gradient, "bulk": predict, "row": predict}
