"""fastbp itself: rows in the given order, as for all libraries; fastbp chooses its number of threads."""

from typing import Any

from fastbp.bench.backends import Task
from fastbp.bench.cases import Array, Case, Layers, begins_of_steps

packages = ("fastbp",)
threads: int | None = None


def set_threads(n: int | None) -> None:
    global threads
    threads = n


def version() -> str:
    import fastbp

    return fastbp.__version__


def model_of(case: Case, layers: Layers) -> Any:
    import fastbp

    return fastbp.Model(case.sizes, case.hidden, case.output, case.loss, dtype=case.dtype, initial=layers)


def learner(case: Case, layers: Layers) -> Any:
    import fastbp

    model = model_of(case, layers)
    model.optimizer = fastbp.Adam(case.learning_rate)
    if case.optimizer != "adam":
        model.optimizer = fastbp.SGD(case.learning_rate, case.momentum)
    return model


def fit(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    model = learner(case, layers)

    def run() -> None:
        model.fit(X, y, case.epochs, case.batch, shuffle=False, n_threads=threads)

    return Task(run, lambda: model.predict(X))


def step(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    model = learner(case, layers)

    def run() -> None:
        for n in begins_of_steps(case):
            model.step(X[n : n + case.batch], y[n : n + case.batch], n_threads=threads)

    return Task(run, lambda: model.predict(X))


def gradient(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    """Gradient descent written by the user, in an njit function that calls fastbp.jit."""
    import numba
    import numpy as np

    import fastbp

    model = model_of(case, layers)
    net, theta, work = model.compiled(), model.parameters, model.workspace(len(X))
    slope = np.empty_like(theta)

    @numba.njit
    def descend(net: Any, theta: Any, X: Any, y: Any, slope: Any, work: Any, steps: int, rate: float) -> None:
        for _ in range(steps):
            fastbp.jit.value_and_gradient(net, theta, X, y, slope, work)
            for i in range(theta.size):
                theta[i] -= rate * slope[i]

    return Task(
        lambda: descend(net, theta, X, y, slope, work, case.steps, case.learning_rate), lambda: model.predict(X)
    )


def predict(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    model = model_of(case, layers)

    def run() -> None:
        for _ in range(case.steps):
            model.predict(X)

    return Task(run, lambda: model.predict(X))


def compiled_row(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    import numba
    import numpy as np

    import fastbp

    model = model_of(case, layers)
    net, theta, work = model.compiled(), model.parameters, model.workspace()
    out = np.empty((len(X), model.network.n_outputs), theta.dtype)

    @numba.njit
    def call_often(net: Any, theta: Any, X: Any, out: Any, work: Any, times: int) -> None:
        for _ in range(times):
            fastbp.jit.predict(net, theta, X, out, work)

    return Task(lambda: call_often(net, theta, X, out, work, case.steps), lambda: out)


tasks = {
    "fit": fit,
    "step": step,
    "gradient": gradient,
    "bulk": predict,
    "row": predict,
    "compiled_row": compiled_row,
}
