"""An example of weight 0 is absent: whatever its activations become, cost, gradient and metrics have nothing of it."""

import numpy as np
import pytest

from fastbp import SGD, Loss, Model

ROWS, ABSENT = 21, (0, 4, 5, 20)
SHAPES = {
    "one layer": {"sizes": (3, 2), "output": "exponential"},
    "few outputs": {"sizes": (3, 5, 2), "hidden": "exponential"},
    "wide": {"sizes": (3, 40, 33, 9), "hidden": ("exponential", "tanh")},
    "overflow of z": {"sizes": (3, 17, 4), "hidden": "relu", "large": True},
    "many weights first": {"sizes": (300, 256, 3), "hidden": "exponential"},
    "dropout": {"sizes": (3, 20, 4), "hidden": "exponential", "dropout": 0.5},
    "penalties": {"sizes": (3, 20, 4), "hidden": "exponential", "l1": 0.1, "l2": 0.1},
}
LOSSES = {
    "squared_error": {}, "cross_entropy": {"output": "softmax"}, "classes": {"output": "softmax"},
    "kullback_leibler": {"output": "softmax"}, "binary_cross_entropy": {"output": "sigmoid"},
    "poisson": {"output": "exponential"}, "gaussian_nll": {}, "huber": {},
    "custom": {"loss": Loss(lambda a, y: (a - y) ** 4, lambda a, y: 4 * (a - y) ** 3)},
}  # fmt: skip


def problem(shape="few outputs", loss="squared_error", dtype="float32", rows=ROWS):
    """A model, and examples of which those of weight 0 overflow within it."""
    options = dict(SHAPES[shape])
    sizes, large = options.pop("sizes"), options.pop("large", False)
    if loss == "gaussian_nll":
        sizes = (*sizes[:-1], sizes[-1] + sizes[-1] % 2)
    options |= (
        LOSSES[loss] if "loss" in LOSSES[loss] else {**LOSSES[loss], "loss": loss.replace("classes", "cross_entropy")}
    )
    if shape == "one layer" and loss != "squared_error":
        options["output"] = LOSSES[loss].get("output", "identity")
    model = Model(sizes, dtype=dtype, seed=2, **options)
    rng, n_out = np.random.default_rng(7), sizes[-1]
    X = rng.normal(size=(rows, sizes[0]))
    X *= 0.1
    weights = rng.uniform(0.5, 2, rows)
    absent = [n for n in ABSENT if n < rows]
    weights[absent] = 0
    for n in absent:
        X[n] = np.finfo(dtype).max / 4 * np.sign(rng.normal(size=sizes[0])) if large else 1e5
    y = {
        "classes": rng.integers(n_out, size=rows),
        "cross_entropy": rng.dirichlet(np.ones(n_out), rows),
        "kullback_leibler": rng.dirichlet(np.ones(n_out), rows),
        "binary_cross_entropy": rng.integers(2, size=(rows, n_out)),
        "poisson": rng.poisson(2, (rows, n_out)),
        "gaussian_nll": rng.normal(size=(rows, n_out // 2)),
    }.get(loss, rng.normal(size=(rows, n_out)))
    return model, X, y, weights


def close(found, expected, dtype):
    tolerance = {"float32": 3e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_cost_gradient_and_deltas_are_those_of_the_other_examples(shape, loss, dtype):
    model, X, y, weights = problem(shape, loss, dtype)
    here = weights > 0
    cost, gradient = model.value_and_gradient(X, y, weights)
    expected, expected_gradient = model.value_and_gradient(X[here], y[here], weights[here])
    assert np.any(expected_gradient)
    close(cost, expected, dtype)
    close(gradient, expected_gradient, dtype)
    close(model.evaluate(X, y, weights)["cost"], model.evaluate(X[here], y[here], weights[here])["cost"], dtype)
    found, wanted = model.backward(X, y, weights), model.backward(X[here], y[here], weights[here])
    for arrays, others in zip(found, wanted, strict=True):
        for array, other in zip(arrays, others, strict=True):
            close(array[here], other, dtype)
            assert not array[~here].any()


def largest(y, outputs, sample_weight):
    """A metric of the user's."""
    assert sample_weight.all()
    return np.abs(outputs).max()


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_continues_and_learns_from_the_others(shape, optimizer, n_threads):
    model, X, y, weights = problem(shape)
    history = model.fit(
        X, y, sample_weight=weights, epochs=3, batch_size=8, optimizer=optimizer, n_threads=n_threads,
        validation_data=(X, y, weights), metrics=["mean_absolute_error", "r2", largest],
    )  # fmt: skip
    for values in (history.cost, history.validation_cost, *history.metrics.values(), model.parameters):
        assert np.isfinite(values).all()


def test_single_examples_of_plain_gradient_descent_learn_nothing_from_an_absent_one():
    """They change theta as the gradient is made."""
    (model, X, y, _), (other, *_) = problem(), problem()
    before, options = model.parameters.copy(), {"batch_size": 1, "optimizer": SGD(0.1), "shuffle": False}
    model.fit(X[[4, 3]], y[[4, 3]], sample_weight=np.array([0.0, 1.0]), epochs=1, **options)
    other.fit(X[[3]], y[[3]], epochs=1, **options)
    assert model.parameters.tobytes() == other.parameters.tobytes() != before.tobytes()


def test_the_score_of_an_estimator_while_it_is_trained_is_that_of_the_others():
    pytest.importorskip("sklearn")
    from fastbp.sklearn import MLPRegressor

    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(60, 3)), np.full((1, 3), 1.7e308)]
    y, weights = np.r_[X[:60, 0], 0], np.r_[np.ones(60), 0]
    options = {"hidden_layer_sizes": (8,), "max_iter": 5, "early_stopping": True, "random_state": 0}
    with pytest.warns(match="Maximum iterations"):
        found = MLPRegressor(**options).fit(X[:60], y[:60], X_val=X, y_val=y, sample_weight_val=weights)
    with pytest.warns(match="Maximum iterations"):
        expected = MLPRegressor(**options).fit(X[:60], y[:60], X_val=X[:60], y_val=y[:60])
    np.testing.assert_allclose(found.validation_scores_, expected.validation_scores_, rtol=1e-12)


def test_a_large_batch_in_shards_is_summed_without_them():
    model = Model((40, 50, 3), hidden="exponential", dtype="float64")
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(3000, 40)) / 50, rng.normal(size=(3000, 3)), np.ones(3000)
    X[::7], weights[::7] = 1e6, 0
    here = weights > 0
    cost, gradient = model.value_and_gradient(X, y, weights)
    expected, expected_gradient = model.value_and_gradient(X[here], y[here])
    close(cost, expected, "float64")
    close(gradient, expected_gradient, "float64")
