"""Derivatives of a Model in its inputs: against each other, against differences, and what they refuse."""

import numpy as np
import pytest
from custom_functions import bump, bump_curvature, bump_slope

import fastbp


def bump_third(z):
    return 6 / (1 + abs(z)) ** 4


NETWORKS = [
    ((9, 6, 5, 2), "tanh", "identity"),  # from the outputs back: all examples together
    ((40, 33, 17, 10), "gelu", "softmax"),  # example by example
    ((2, 9, 7, 33), "tanh", "softmax"),  # from the inputs on
    ((5, 6, 7, 19), "silu", "sigmoid"),
    ((4, 7, 1), "sin", "identity"),
    ((5, 2), "tanh", "softplus"),
    ((70, 9), "tanh", "softmax"),  # more inputs than there is room for at once
]
ROWS = (1, 3, 7, 130)
CUSTOM = fastbp.Activation(bump, bump_slope, bump_curvature, third=bump_third)
CURVED = [*NETWORKS, ((3, 6, 4, 2), (CUSTOM, "softplus"), "identity"), ((3, 4, 2), "mish", CUSTOM)]


def model_of(sizes, hidden, output, dtype="float64", seed=1):
    model = fastbp.Model(sizes, hidden, output, loss="squared_error", dtype=dtype, seed=seed)
    model.parameters += np.random.default_rng(seed).normal(size=model.parameters.size).astype(dtype) * 0.1
    return model


@pytest.fixture(params=NETWORKS, ids=str)
def model(request):
    return model_of(*request.param)


@pytest.fixture(params=CURVED, ids=str)
def curved(request):
    return model_of(*request.param)


def inputs_of(model, rows):
    return np.random.default_rng(rows).normal(size=(rows, model.network.n_inputs))


def one_at(shape, column):
    """Ones in one column, else zeros."""
    found = np.zeros(shape)
    found[:, column] = 1.0
    return found


# --- the Jacobian ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", ROWS)
def test_columns_of_the_jacobian_are_jvps_and_its_rows_vjps(model, rows):
    X = inputs_of(model, rows)
    jacobian = model.input_jacobian(X)
    n_out, n_in = model.network.n_outputs, model.network.n_inputs
    assert jacobian.shape == (rows, n_out, n_in)
    columns = np.stack([model.jvp(X, one_at(X.shape, k))[1] for k in range(n_in)], axis=2)
    by_rows = np.stack([model.input_gradient(X, one_at((rows, n_out), j)) for j in range(n_out)], axis=1)
    for expected in (columns, by_rows):
        np.testing.assert_allclose(jacobian, expected, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_any_number_of_threads_gives_the_same_bits(model, threads):
    X = inputs_of(model, 2000)
    with fastbp.thread_limit(1):
        alone = model.input_jacobian(X), model.input_hessian(X[:300])
    with fastbp.thread_limit(threads):
        together = model.input_jacobian(X), model.input_hessian(X[:300])
    for one, several in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, several)


# --- the Hessian ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", ROWS)
def test_the_hessian_is_the_slope_of_the_jacobian(curved, rows):
    X, h = inputs_of(curved, rows), 1e-5
    hessian = curved.input_hessian(X)
    np.testing.assert_array_equal(hessian, hessian.swapaxes(2, 3))
    for k in range(X.shape[1]):
        step = h * one_at(X.shape, k)
        expected = (curved.input_jacobian(X + step) - curved.input_jacobian(X - step)) / (2 * h)
        np.testing.assert_allclose(hessian[:, :, :, k], expected, atol=1e-6 * max(1, np.abs(expected).max()))


def test_the_hessian_along_a_direction_is_the_second_taylor_coefficient(curved):
    X = inputs_of(curved, 7)
    V = np.random.default_rng(0).normal(size=X.shape)
    expected = curved.taylor(X, V, 2)[2]
    along = np.einsum("njkm,nk,nm->nj", curved.input_hessian(X), V, V)
    np.testing.assert_allclose(along, expected, atol=1e-12 * np.abs(expected).max())


# --- Taylor coefficients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "directions"), [(1, 1), (3, 2), (7, 3), (130, 2)])
def test_taylor_coefficients_are_the_slopes_along_their_direction(curved, rows, directions):
    X, h = inputs_of(curved, rows), 1e-4
    V = np.random.default_rng(0).normal(size=(directions, *X.shape))
    y, y_1, y_2 = curved.taylor(X, V, order=2)
    np.testing.assert_array_equal(y, curved.predict(X))
    for d, v in enumerate(V):
        ahead, behind = curved.predict(X + h * v), curved.predict(X - h * v)
        np.testing.assert_array_equal(y_1[d], curved.jvp(X, v)[1])
        np.testing.assert_allclose(y_1[d], (ahead - behind) / (2 * h), atol=1e-5 * max(1, np.abs(y_1).max()))
        np.testing.assert_allclose(y_2[d], (ahead - 2 * y + behind) / h**2, atol=1e-4 * max(1, np.abs(y_2).max()))
        alone = curved.taylor(X, v, order=2)
        for found, expected in zip((*alone, *curved.taylor(X, v)), (y, y_1[d], y_2[d], y, y_1[d]), strict=True):
            np.testing.assert_array_equal(found, expected)


def cotangents_of(model, V, order):
    rng, shape = np.random.default_rng(5), (*V.shape[:-1], model.network.n_outputs)
    return [rng.normal(size=shape[-2:]), *(rng.normal(size=shape) for _ in range(order))]


@pytest.mark.parametrize(
    ("network", "order"),
    [(network, order) for network in CURVED for order in (1, 2) if order == 1 or network[2] != "softmax"],
    ids=str,
)
@pytest.mark.parametrize(("rows", "directions"), [(1, 1), (3, 2), (130, 2)])
def test_taylor_vjp_is_the_gradient_of_the_taylor_coefficients(network, order, rows, directions):
    curved = model_of(*network)
    X, theta, h = inputs_of(curved, rows), curved.parameters.copy(), 1e-5
    V = np.random.default_rng(0).normal(size=(directions, *X.shape))
    cotangents, direction = cotangents_of(curved, V, order), np.random.default_rng(1).normal(size=theta.size)

    def total(parameters):
        curved.parameters = parameters
        return sum(np.vdot(c, y) for c, y in zip(cotangents, curved.taylor(X, V, order), strict=True))

    expected = (total(theta + h * direction) - total(theta - h * direction)) / (2 * h)
    curved.parameters = theta
    gradient = curved.taylor_vjp(X, V, cotangents)
    assert abs(gradient @ direction - expected) <= 1e-6 * np.linalg.norm(gradient) * np.linalg.norm(direction)
    parts = [
        curved.taylor_vjp(X, V, [c if i == j else None for j, c in enumerate(cotangents)]) for i in range(order + 1)
    ]
    np.testing.assert_allclose(sum(parts), gradient, atol=1e-12 * np.abs(gradient).max())
    np.testing.assert_allclose(parts[0], curved.vjp(X, cotangents[0])[1], atol=1e-12 * np.abs(parts[0]).max())


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_taylor_gives_the_same_bits_with_any_number_of_threads(model, threads):
    X, order = inputs_of(model, 2000), 1 if model.network.output == "softmax" else 2
    V = np.random.default_rng(0).normal(size=(2, *X.shape))
    found = []
    for n in (1, threads):
        with fastbp.thread_limit(n):
            found.append([*model.taylor(X, V, 2), model.taylor_vjp(X, V, cotangents_of(model, V, order))])
    for alone, together in zip(*found, strict=True):
        np.testing.assert_array_equal(alone, together)


# --- in both precisions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_derivatives_in_float32_are_those_of_float64(network):
    single, double = model_of(*network, "float32"), model_of(*network)
    double.parameters = single.parameters.astype("float64")
    X = inputs_of(single, 9).astype("float32")
    V = X[::-1].copy()
    for found, expected in (
        (single.input_jacobian(X), double.input_jacobian(X)),
        (single.input_hessian(X), double.input_hessian(X)),
        *zip(single.taylor(X, V, 2), double.taylor(X, V, 2), strict=True),
        (single.taylor_vjp(X, V, single.taylor(X, V)), double.taylor_vjp(X, V, double.taylor(X, V))),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(1e-3, np.abs(expected).max()))


# --- what is refused ------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_named():
    model, X = model_of((3, 5, 2), "tanh", "identity"), np.zeros((4, 3))
    c, V = np.zeros((4, 2)), np.zeros((4, 3))
    for call, message in [
        (lambda: model.input_jacobian(V[:, :2]), "X must have 3 columns"),
        (lambda: model.taylor(X, V, 3), "order must be 1 or 2, got 3"),
        (lambda: model.taylor(X, V[:2]), "V must have a row for each of the 4 rows of X, got 2"),
        (lambda: model.taylor(X, np.zeros((2, 3, 3))), r"V must have shape \(d, 4, 3\) with d >= 1, got \(2, 3, 3\)"),
        (lambda: model.taylor_vjp(X, V, (c,)), "cotangents must be"),
        (lambda: model.taylor_vjp(X, V, (c, c[:1])), r"cotangents\[1\] must have a row for each of the 4"),
        (lambda: model.taylor_vjp(X, V, (c, c[None])), r"cotangents\[1\] must have shape \(4, 2\), got \(1, 4, 2\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_activations_without_the_derivative_needed_are_named():
    no_second, no_third = fastbp.Activation(bump, bump_slope), fastbp.Activation(bump, bump_slope, bump_curvature)
    X, c = np.zeros((4, 3)), np.zeros((4, 2))
    model = model_of((3, 5, 2), no_second, "identity")
    for call in (
        lambda: model.input_hessian(X),
        lambda: model.taylor(X, X, 2),
        lambda: model.taylor_vjp(X, X, (c, c)),
    ):
        with pytest.raises(ValueError, match=r"needs `second` of every activation, got Activation\('bump'\)"):
            call()
    with pytest.raises(ValueError, match=r"needs `third` of every activation, got Activation\('bump'\)"):
        model_of((3, 5, 2), no_third, "identity").taylor_vjp(X, X, (c, c, c))
    with pytest.raises(ValueError, match="must be of elementwise activations, got softmax"):
        model_of((3, 5, 2), "tanh", "softmax").taylor_vjp(X, X, (c, c, c))
