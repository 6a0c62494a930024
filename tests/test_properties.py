"""Whatever the shape, dtype, layout, weights, batch size and number of threads: Model agrees with the slow twin."""

from functools import partial

import numpy as np
import twin
from hypothesis import given, note
from hypothesis import strategies as st

from fastbp import SGD, Adam, Model

TOLERANCE = {"float64": 1e-9, "float32": 2e-4}
TASKS = [
    ("identity", "squared_error", False),
    ("tanh", "half_squared_error", False),
    ("softmax", "cross_entropy", True),
    ("softmax", "cross_entropy", False),
    ("sigmoid", "binary_cross_entropy", False),
]
LAYOUTS = {
    "as it is": lambda a: a,
    "Fortran order": np.asfortranarray,
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards in memory": lambda a: a[::-1].copy()[::-1],
    "columns of a wider array": lambda a: np.pad(a, [(0, 0)] * (a.ndim - 1) + [(1, 2)])[..., 1:-2],
    "the other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "lists": lambda a: a.tolist(),
}
RULES = {
    "sgd": (SGD(0.05), partial(twin.sgd_step, learning_rate=0.05)),
    "momentum": (SGD(0.02, 0.9), partial(twin.sgd_step, learning_rate=0.02, momentum=0.9)),
    "adam": (Adam(0.003), partial(twin.adam_step, learning_rate=0.003)),
}


@st.composite
def problems(draw):
    """(net, theta, X, y, weights or None, dtype); numbers that float32 holds exactly, no kinks."""
    width = st.one_of(st.integers(1, 9), st.integers(10, 70))
    sizes = tuple(draw(st.lists(width, min_size=2, max_size=5)))
    output, loss, classes = draw(st.sampled_from(TASKS))
    hidden = tuple(draw(st.sampled_from(["tanh", "sigmoid", "identity"])) for _ in sizes[1:-1])
    net = twin.Net(sizes, hidden, output, loss, draw(st.booleans()), draw(st.sampled_from(["mean", "sum"])))
    rows = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def exact(a):
        return a.astype(np.float32).astype(np.float64)

    theta = exact(rng.uniform(-1, 1, twin.n_parameters(net)) / np.sqrt(max(sizes)))
    X = exact(rng.uniform(-1, 1, (rows, sizes[0])))
    y = exact(rng.uniform(0, 1, (rows, sizes[-1])))
    if loss == "cross_entropy":
        y = (
            rng.integers(0, sizes[-1], rows)
            if classes
            else rng.multinomial(64, np.ones(sizes[-1]) / sizes[-1], rows) / 64
        )
    weights = None
    if draw(st.booleans()):
        weights = rng.integers(0, 4, rows) / 2
        weights[0] = 1.0
    return net, theta, X, y, weights, draw(st.sampled_from(list(TOLERANCE)))


def model_of(net, theta, dtype):
    return Model(
        net.sizes, net.hidden, net.output, net.loss, net.bias, dtype, initial=theta.astype(dtype),
        reduction=net.reduction,
    )  # fmt: skip


def assert_close(found, expected, dtype, scale=1.0):
    """Within the tolerance, of the largest number or of `scale`."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected)
    assert found.shape == expected.shape
    worst = np.abs(found - expected).max() / max(np.abs(expected).max(), scale)
    assert worst <= TOLERANCE[dtype], f"off by {worst:.2g}"


@given(problems(), st.sampled_from(list(LAYOUTS)), st.sampled_from(["float64", "model's"]))
def test_outputs_cost_and_gradient_are_the_twins(problem, layout, given_dtype):
    net, theta, X, y, weights, dtype = problem
    note(f"{net}, {len(X)} rows, {layout}")
    model = model_of(net, theta, dtype)
    given_X, given_y = LAYOUTS[layout](X.astype(dtype) if given_dtype == "model's" else X), LAYOUTS[layout](y)
    assert_close(model.predict(given_X), twin.predict(net, theta, X), dtype)
    cost, gradient = model.value_and_gradient(given_X, given_y, sample_weight=weights)
    expected_cost, expected_gradient = twin.value_and_gradient(net, theta, X, y, weights)
    assert_close(cost, expected_cost, dtype)
    assert_close(gradient, expected_gradient, dtype)
    if net.reduction == "mean":
        assert_close(model.evaluate(given_X, given_y, weights)["cost"], expected_cost, dtype)


@given(problems(), st.integers(1, 70), st.integers(1, 3), st.integers(1, 3), st.sampled_from(list(RULES)))
def test_training_agrees_with_the_numpy_twin(problem, batch_size, epochs, n_threads, rule):
    net, theta, X, y, weights, dtype = problem
    note(f"{net}, {len(X)} rows, batches of {batch_size}, {n_threads} threads, {rule}")
    if weights is not None:  # a mini-batch whose examples all count nothing has no average
        weights = weights + 0.5
    optimizer, step = RULES[rule]
    if net.reduction == "sum":  # steps of the sum of 60 examples explode
        net = twin.Net(net.sizes, net.hidden, net.output, net.loss, net.bias)
    model = model_of(net, theta, dtype)
    history = model.fit(
        X, y, epochs=epochs, batch_size=batch_size, optimizer=optimizer, sample_weight=weights, shuffle=False,
        n_threads=n_threads,
    )  # fmt: skip
    thetas, costs = twin.trajectory(net, theta, X, y, step, epochs, batch_size, weights)
    if dtype == "float64" or rule != "adam":  # Adam divides by |g|: rounding decides the step of a tiny gradient
        assert_close(model.parameters, thetas[-1], dtype)
    assert_close(history.cost, costs, dtype)
