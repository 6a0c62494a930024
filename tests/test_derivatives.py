"""The derivatives of a Model: against differences, against each other, and what they refuse."""

import numpy as np
import pytest

import fastbp

NETWORKS = [
    ((3, 5, 2), "tanh", "identity"),
    ((40, 33, 17, 10), "gelu", "softmax"),
    ((8, 64, 4), "silu", "sigmoid"),
    ((4, 7, 1), "sin", "identity"),
    ((5, 2), "tanh", "softplus"),
]
ROWS = (1, 3, 7, 130)


def model_of(sizes, hidden, output, seed=1):
    model = fastbp.Model(sizes, hidden, output, loss="squared_error", dtype="float64", seed=seed)
    model.parameters += np.random.default_rng(seed).normal(size=model.parameters.size) * 0.1
    return model


@pytest.fixture(params=NETWORKS, ids=str)
def model(request):
    return model_of(*request.param)


def rows_of(rng, rows, model):
    """X, a direction in X, one in theta, and a cotangent."""
    n_in, n_out = model.network.n_inputs, model.network.n_outputs
    shapes = (rows, n_in), (rows, n_in), model.parameters.shape, (rows, n_out)
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("rows", ROWS)
def test_jvp_is_the_slope_along_its_direction(model, rows):
    X, dX, dtheta, _ = rows_of(np.random.default_rng(rows), rows, model)
    y, dy = model.jvp(X, dX, dtheta)
    h, theta = 1e-5, model.parameters
    ahead, behind = (model.predict(X + s * h * dX, theta + s * h * dtheta) for s in (1, -1))
    np.testing.assert_array_equal(y, model.predict(X))
    np.testing.assert_allclose(dy, (ahead - behind) / (2 * h), atol=1e-6 * max(1, np.abs(dy).max()))


@pytest.mark.parametrize("rows", ROWS)
def test_jvp_is_linear_in_its_direction(model, rows):
    X, dX, dtheta, _ = rows_of(np.random.default_rng(rows), rows, model)
    _, of_inputs = model.jvp(X, dX)
    _, of_theta = model.jvp(X, dtheta=dtheta)
    _, both = model.jvp(X, dX, dtheta)
    np.testing.assert_allclose(both, of_inputs + of_theta, atol=1e-13 * np.abs(both).max())


@pytest.mark.parametrize("rows", ROWS)
def test_vjp_is_the_adjoint_of_jvp(model, rows):
    X, dX, dtheta, cotangent = rows_of(np.random.default_rng(rows), rows, model)
    _, dy = model.jvp(X, dX, dtheta)
    back_X, back_theta = model.vjp(X, cotangent)
    forward, back = np.vdot(cotangent, dy), np.vdot(back_X, dX) + np.vdot(back_theta, dtheta)
    size = np.linalg.norm(cotangent) * np.linalg.norm(dy)
    assert abs(forward - back) <= 1e-13 * size
    np.testing.assert_array_equal(model.input_gradient(X, cotangent), back_X)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_any_number_of_threads_gives_the_same_bits(model, threads):
    X, dX, dtheta, cotangent = rows_of(np.random.default_rng(0), 5000, model)
    with fastbp.thread_limit(1):
        alone = *model.jvp(X, dX, dtheta), *model.vjp(X, cotangent)
    with fastbp.thread_limit(threads):
        together = *model.jvp(X, dX, dtheta), *model.vjp(X, cotangent)
    for one, several in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, several)


def test_what_is_wrong_is_named():
    model = model_of((3, 5, 2), "tanh", "identity")
    X = np.zeros((4, 3))
    with pytest.raises(ValueError, match="dX, dtheta or both"):
        model.jvp(X)
    with pytest.raises(ValueError, match="dX must have a row for each of the 4 rows of X, got 3"):
        model.jvp(X, np.zeros((3, 3)))
    with pytest.raises(ValueError, match="cotangent"):
        model.vjp(X, np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"cotangent must be an array \(n, 2\)"):
        model.input_gradient(X)
    with pytest.raises(ValueError, match="dtheta"):
        model.jvp(X, dtheta=np.zeros(3))
