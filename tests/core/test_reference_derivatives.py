"""The derivatives of a Model are those of the textbook's loops, in float64."""

import math

import numpy as np
import pytest
from numba import njit

import fastbp
from fastbp.core import reference_derivatives as textbook
from fastbp.core.reference import identity, identity_prime, sigmoid, sigmoid_prime, tanh, tanh_prime


@njit
def zero(z):
    return 0.0


@njit
def tanh_second(z):
    return -2.0 * math.tanh(z) * (1.0 - math.tanh(z) ** 2)


@njit
def tanh_third(z):
    return (1.0 - math.tanh(z) ** 2) * (6.0 * math.tanh(z) ** 2 - 2.0)


@njit
def sigmoid_second(z):
    return sigmoid_prime(z) * (1.0 - 2.0 * sigmoid(z))


@njit
def sigmoid_third(z):
    return sigmoid_prime(z) * (1.0 - 6.0 * sigmoid_prime(z))


FUNCTIONS = {
    "identity": (identity, identity_prime, zero, zero),
    "tanh": (tanh, tanh_prime, tanh_second, tanh_third),
    "sigmoid": (sigmoid, sigmoid_prime, sigmoid_second, sigmoid_third),
}
NETWORKS = [
    ((3, 2), (), "sigmoid"),
    ((4, 7, 1), ("tanh",), "identity"),
    ((2, 5, 33, 3), ("sigmoid", "tanh"), "tanh"),
    ((17, 9, 6, 20), ("tanh", "sigmoid"), "identity"),
]
ROWS = (1, 3, 4, 5, 37)


@pytest.fixture(params=NETWORKS, ids=str)
def model(request):
    made = fastbp.Model(*request.param, loss="squared_error", dtype="float64", seed=1)
    made.parameters += np.random.default_rng(1).normal(size=made.parameters.size) * 0.1
    return made


def layers_of(model):
    """The network as the textbook has it."""
    blocks = zip(model.weights, model.biases, model.network.activations, strict=True)
    return [(np.ascontiguousarray(w), b.copy(), *FUNCTIONS[name]) for w, b, name in blocks]


def pairs_of(model, theta):
    """(w, b) of each layer of a vector like theta."""
    blocks = zip(model.network.weights(theta), model.network.biases(theta), strict=True)
    return [(np.ascontiguousarray(w), b.copy()) for w, b in blocks]


def vector_of(pairs):
    return np.concatenate([part for w, b in pairs for part in (w.T.ravel(), b)])


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * max(1, np.abs(expected).max()))


def data(model, rows):
    rng, network = np.random.default_rng(rows), model.network
    shapes = (rows, network.n_inputs), (rows, network.n_inputs), model.parameters.shape, (rows, network.n_outputs)
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("rows", ROWS)
def test_jvp_and_vjp(model, rows):
    X, dX, dtheta, c = data(model, rows)
    layers = layers_of(model)
    for found, expected in zip(
        model.jvp(X, dX, dtheta), textbook.jvp(layers, X, dX, pairs_of(model, dtheta)), strict=True
    ):
        close(found, expected)
    (dx, theta), (expected_x, expected_theta) = model.vjp(X, c), textbook.vjp(layers, X, c)
    close(dx, expected_x)
    close(theta, vector_of(expected_theta))


@pytest.mark.parametrize("rows", ROWS)
def test_jacobian_and_hessian_in_the_inputs(model, rows):
    X, *_ = data(model, rows)
    close(model.input_jacobian(X), textbook.input_jacobian(layers_of(model), X))
    close(model.input_hessian(X), textbook.input_hessian(layers_of(model), X))


@pytest.mark.parametrize("rows", ROWS)
def test_taylor_coefficients_and_their_gradient(model, rows):
    X, V, _, c = data(model, rows)
    layers = layers_of(model)
    _, (a, a_t, a_tt) = textbook.taylor(layers, X, V)
    for found, expected in zip(model.taylor(X, V, order=2), (a[-1], a_t[-1], a_tt[-1]), strict=True):
        close(found, expected)
    cotangents = c, np.cos(c), c**2
    close(model.taylor_vjp(X, V, cotangents), vector_of(textbook.taylor_vjp(layers, X, V, cotangents)))
