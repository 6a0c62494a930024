"""Penalties on the weights are part of cost and gradient, and of nothing else."""

import numba
import numpy as np
import pytest
import twin
from against_twin import assert_close, assert_gradient, model_of

import fastbp
from fastbp import Adam, Model, schedules
from fastbp.core import slots, workspace

SHAPES = {  # sizes, rows
    "one example": ((5, 7, 3), 1),
    "wide and narrow layers": ((3, 40, 1, 33), 19),
    "inputs for a few outputs, whose sums are transposed": ((70, 2), 30),
    "a batch in shards": ((6, 40, 4), 1400),
    "a first layer whose weights stay with their owners": ((1100, 64, 2), 20),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient_hold_the_penalties_and_evaluate_does_not(shape, bias):
    sizes, rows = SHAPES[shape]
    hidden = ("tanh",) * (len(sizes) - 2)
    data = twin.Net(sizes, hidden, bias=bias)
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(rows, sizes[0])), rng.normal(size=(rows, sizes[-1]))
    theta = rng.normal(size=twin.n_parameters(data), scale=0.3)
    theta[::7] = 0.0  # where |w| has no slope
    for l1, l2 in ((0.3, 0.0), (0.0, 0.2), (0.3, 0.2)):
        net = twin.Net(sizes, hidden, bias=bias, l1=l1, l2=l2)
        cost, gradient = twin.value_and_gradient(net, theta, X, y)
        for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-4)):
            model = model_of(net, theta, dtype)
            assert (workspace.shards_of(model.compiled(), rows) > 1) == (shape == "a batch in shards")
            found, slopes = model.value_and_gradient(X, y)
            assert_close(found, cost, tolerance)
            assert_gradient(net, slopes, gradient, tolerance)
            assert_close(model.evaluate(X, y)["cost"], twin.cost(data, theta, X, y), tolerance)


def test_check_gradient_covers_the_penalties():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 3))
    with_, without = (Model((4, 6, 3), "tanh", seed=2, l1=l1, l2=l2) for l1, l2 in ((0.1, 0.3), (0.0, 0.0)))
    found, data = with_.check_gradient(X, y), without.check_gradient(X, y)
    assert found.passed
    w = np.where(twin.is_weight(twin.Net((4, 6, 3))), with_.parameters.astype("f8"), 0)
    np.testing.assert_allclose(found.numeric - data.numeric, 0.1 * np.sign(w) + 0.3 * w, atol=1e-7)


@numba.njit
def compiled_value_and_gradient(net, theta, X, y, gradient, workspace):
    return fastbp.jit.value_and_gradient(net, theta, X, y, gradient, workspace)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_code_has_the_penalties_too(dtype):
    model = Model((5, 7, 3), "tanh", dtype=dtype, l1=0.01, l2=0.1)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(9, 5)).astype(dtype), rng.normal(size=(9, 3)).astype(dtype)
    gradient = np.empty_like(model.parameters)
    cost = compiled_value_and_gradient(model.compiled(), model.parameters, X, y, gradient, model.workspace(9))
    expected_cost, expected = model.value_and_gradient(X, y)
    assert cost == expected_cost
    np.testing.assert_array_equal(gradient, expected)


def test_l1_leaves_fewer_weights_of_inputs_that_say_nothing():
    """Two of twenty inputs matter; with l1 the others' weights end near 0, without it they fit the noise."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 20))
    y = X[:, 0] - 2 * X[:, 1] + 0.5 * rng.normal(size=60)
    largest = {}
    for l1 in (0.0, 0.5):
        model = Model((20, 1), dtype="float64", l1=l1)
        model.fit(X, y, epochs=300, batch_size=60, optimizer=Adam(schedules.Exponential(0.05, 100, 0.3)))
        w = np.abs(model.weights[0][0])
        assert min(w[:2]) > 0.5
        largest[l1] = w[2:].max()
    assert largest[0.5] < 0.1 < largest[0.0]


def test_without_penalties_there_is_no_kernel_for_them():
    assert Model((3, 2)).compiled()[slots.Net.penalty] == 0
    assert Model((3, 2), l1=0.1).compiled()[slots.Net.penalty] != 0
