"""A loss of the user's own functions: the same numbers as the twin's, checked at construction, asked for at load."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
import twin
from numba import njit

import fastbp.jit
from fastbp import SGD, Loss, Model
from fastbp.data import load_digits


def cauchy(a, y):
    return math.log1p((a - y) ** 2)


def cauchy_derivative(a, y):
    return 2 * (a - y) / (1 + (a - y) ** 2)


def cauchy_second(a, y):
    return 2 * (1 - (a - y) ** 2) / (1 + (a - y) ** 2) ** 2


CAUCHY = Loss(cauchy, cauchy_derivative, cauchy_second)
LOGARITHM = Loss(lambda a, y: a - y * np.log(a), lambda a, y: 1 - y / a, name="mean of counts")
TWIN = twin.Loss(
    lambda a, y: np.log(1 + (a - y) ** 2).sum(axis=1),
    lambda a, y: 2 * (a - y) / (1 + (a - y) ** 2),
    lambda a, y: 2 / (1 + (a - y) ** 2) - 4 * (a - y) ** 2 / (1 + (a - y) ** 2) ** 2,
)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_cost_and_gradient_are_the_twins_with_every_output(monkeypatch, dtype, tolerance):
    monkeypatch.setitem(twin.LOSSES, "cauchy", TWIN)
    weight = np.array([1.0, 0.5, 0.0, 2.0, 0.25, 1.0])
    for output in ("identity", "tanh", "softmax"):
        net = twin.Net((3, 4, 3), "tanh", output, "cauchy")
        theta, X, y = twin.problem(net, rows=6)
        model = Model(net.sizes, "tanh", output, CAUCHY, dtype=dtype, initial=theta.astype(dtype))
        cost, gradient = model.value_and_gradient(X, y, weight)
        expected_cost, expected = twin.value_and_gradient(net, theta, X, y, weight)
        assert cost == pytest.approx(expected_cost, rel=tolerance)
        assert np.abs(gradient - expected).max() <= tolerance * np.abs(expected).max()
        assert model.evaluate(X, y, weight) == {"cost": pytest.approx(cost)} or output == "softmax"
        assert model.check_gradient(X, y).passed


def test_an_example_of_weight_zero_counts_for_nothing_where_the_loss_is_infinite():
    model = Model((1, 1), loss=LOGARITHM, dtype="float64")
    cost, gradient = model.value_and_gradient([[1.0], [0.0]], [1.0, 1.0], [1, 0], theta=[1.0, 0.0])
    assert cost == 1
    assert gradient.tolist() == [0, 0]


def test_training_and_compiled_code_use_it():
    X, digit = load_digits()
    X, y = X / 16, np.eye(10)[digit]
    model = Model((64, 32, 10), loss=CAUCHY)
    history = model.fit(X, y, epochs=10)
    assert history.cost[-1] < 0.3 * history.cost[0]
    assert np.mean(model.predict(X).argmax(axis=1) == digit) > 0.9

    @njit
    def slope(net, theta, x, y, gradient, workspace):
        return fastbp.jit.value_and_gradient(net, theta, x, y, gradient, workspace)

    gradient, one, target = np.empty_like(model.parameters), X[:1].astype("f4"), y[:1].astype("f4")
    cost = slope(model.compiled(), model.parameters, one, target, gradient, model.workspace())
    expected_cost, expected = model.value_and_gradient(one, target)
    assert cost == pytest.approx(expected_cost)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_where_its_slope_is_infinite_training_stops_and_each_parameter_keeps_its_last_finite_value(n_threads):
    steep = Loss(
        lambda a, y: math.sqrt(abs(a - y)), lambda a, y: math.copysign(0.5, a - y) / np.sqrt(abs(a - y)), name="steep"
    )
    model = Model((2, 2), loss=steep, initial=np.zeros(6))
    with pytest.raises(FloatingPointError, match=r"a parameter or .* would become NaN or infinite in epoch 1, step 1 "):
        model.fit([[1.0, 2.0]], [[0.0, 1.0]], epochs=2, optimizer=SGD(0.5), n_threads=n_threads)
    weights, biases = model.parameters[:4].reshape(2, 2), model.parameters[4:]
    np.testing.assert_array_equal(weights, [[0, 0.25], [0, 0.5]])
    np.testing.assert_array_equal(biases, [0, 0.25])


def square(a, y):
    return (a - y) ** 2


def broken(a, y):
    return undefined(a)  # noqa: F821


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (square, lambda a, y: a - y),
            ValueError,
            "derivative must be the slope of value in a: at a = 4.1427, y = -1.6251 it is 5.7678, central differences "
            "of value give 11.5356, off by 5.8",
        ),
        (
            (lambda a, y: 1e-9 * (a - y) ** 2, lambda a, y: 1e-9 * (a - y), None, "tiny"),
            ValueError,
            "derivative must be the slope of value in a: at a = 4.1427, y = -1.6251 it is 5.7678e-09, ",
        ),
        ((square, lambda a, y: 2 * (y - a)), ValueError, "derivative must be the slope of value in a: at a = "),
        ((square, lambda a, y: math.nan), ValueError, "derivative must be the slope of value in a: at a = "),
        (
            (square, lambda a, y: 2 * (a - y), lambda a, y: 1.0),
            ValueError,
            "second must be the slope of derivative in a: at a = ",
        ),
        (
            (lambda a, y: math.nan, square, None, "n"),
            ValueError,
            "value must be finite somewhere, but is at no a in (-2.",
        ),
        (
            (square, square, None, "huber"),
            ValueError,
            "name must not be empty or that of another loss, got 'huber'",
        ),
        ((square, square, None, 3), TypeError, "name must be a string, got 3"),
        (("square", square), TypeError, "value must be a Python function of two numbers (a, y), got 'square'"),
        ((square, 2), TypeError, "derivative must be a Python function of two numbers (a, y), got 2"),
        (
            (broken, square),
            ValueError,
            "value must be a function of two numbers (a, y) to a number that numba compiles: ",
        ),
        (
            (square, lambda a: a),
            ValueError,
            "derivative must be a function of two numbers (a, y) to a number that numba",
        ),
        (
            (square, lambda a, y: "a"),
            ValueError,
            "derivative must be a function of two numbers (a, y) to a number that",
        ),
    ],
)
def test_what_is_not_a_loss_and_its_slope_is_refused_with_where_and_how_far_off(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}") as caught:
        Loss(*arguments)
    assert "\n" not in str(caught.value)


def test_kinks_and_functions_that_numba_has_compiled_are_taken():
    size = njit(lambda a, y: abs(a - y))
    loss = Loss(size, lambda a, y: 1.0 if a > y else -1.0, lambda a, y: 0.0, name="size")
    X, y, theta = [[2.0]], [[1.0]], [1.0, 0.5]
    expected = Model((1, 1), loss="absolute_error").value_and_gradient(X, y, theta=theta)
    cost, gradient = Model((1, 1), loss=loss).value_and_gradient(X, y, theta=theta)
    assert (cost, gradient.tolist()) == (expected[0], expected[1].tolist())


def test_a_file_has_the_name_and_load_asks_for_the_loss(tmp_path):
    path = tmp_path / "model"
    model = Model((2, 3), loss=CAUCHY, dtype="float64")
    assert "loss=Loss('cauchy')" in repr(model)
    model.save(path)
    loaded = Model.load(path, custom=[LOGARITHM, CAUCHY])
    X, y = np.ones((1, 2)), np.ones((1, 3))
    assert loaded.loss is CAUCHY
    assert loaded.evaluate(X, y) == model.evaluate(X, y)
    for custom in ([], [LOGARITHM], ["cauchy"]):
        with pytest.raises(
            LookupError, match=r"^the model has the custom loss 'cauchy': give it as Model.load\(path, cus"
        ):
            Model.load(path, custom=custom)


def test_models_with_a_custom_loss_are_copied_and_pickled_with_its_functions():
    model = Model((2, 3), loss=CAUCHY)
    X, y = np.ones((1, 2)), np.zeros((1, 3))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.loss == CAUCHY
        assert other.evaluate(X, y) == model.evaluate(X, y)
