"""Derivatives of a standardized model are in raw units: those of the whole map from X to the predictions."""

import numpy as np
import pytest
from numba import njit

import fastbp

NETWORKS = [((3, 9, 7, 2), "tanh"), ((2, 5, 1), "silu"), ((2, 8, 40), "sin"), ((20, 6, 3), "gelu")]
KINDS = ["inputs", "both"]


def model_of(network, kind):
    """A standardized model, and the plain one within it."""
    sizes, hidden = network
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=sizes[0]), rng.exponential(size=sizes[0]) + 0.1]
    vectors += [rng.normal(size=sizes[-1]), rng.exponential(size=sizes[-1]) + 0.1] if kind == "both" else []
    model = fastbp.Model(sizes, hidden, dtype="float64", standardize=fastbp.Scaling(*vectors))
    plain = fastbp.Model(sizes, hidden, dtype="float64")
    return model, plain


@pytest.fixture(params=[(network, kind) for network in NETWORKS for kind in KINDS], ids=str)
def models(request):
    return model_of(*request.param)


def data(model, rows):
    rng, network = np.random.default_rng(rows), model.network
    shapes = (rows, network.n_inputs), (rows, network.n_inputs), model.parameters.shape, (rows, network.n_outputs)
    return [rng.normal(size=shape) for shape in shapes]


def scales(model):
    """Output scale s_j, and the inputs' factor f_k."""
    scaling = model.scaling
    s = np.ones(model.network.n_outputs) if scaling.output_scale is None else scaling.output_scale
    return s, 1 / scaling.scale


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_products_with_the_jacobian(models, rows):
    model, _ = models
    X, dX, dtheta, cotangent = data(model, rows)
    y, dy = model.jvp(X, dX, dtheta)
    h = 1e-6
    ahead, behind = (model.predict(X + t * h * dX, model.parameters + t * h * dtheta) for t in (1, -1))
    np.testing.assert_array_equal(y, model.predict(X))
    np.testing.assert_allclose(dy, (ahead - behind) / (2 * h), atol=1e-7 * max(1, np.abs(dy).max()))
    back_X, back_theta = model.vjp(X, cotangent)
    both = np.vdot(back_X, dX) + np.vdot(back_theta, dtheta)
    assert np.vdot(cotangent, dy) == pytest.approx(both, abs=1e-12 * np.linalg.norm(cotangent) * np.linalg.norm(dy))


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_jacobian_and_hessian_are_those_of_the_network_within_scaled(models, rows):
    model, plain = models
    X, *_ = data(model, rows)
    inner, (s, f) = model.scaling.inputs(X), scales(model)
    expected = plain.input_jacobian(inner) * s[:, None] * f
    np.testing.assert_allclose(model.input_jacobian(X), expected, rtol=1e-13)
    hessian = model.input_hessian(X)
    expected = plain.input_hessian(inner) * s[:, None, None] * f[:, None] * f
    np.testing.assert_allclose(hessian, expected, rtol=1e-12, atol=1e-13 * np.abs(expected).max())
    np.testing.assert_array_equal(hessian, hessian.transpose(0, 1, 3, 2))


def test_taylor_coefficients_and_their_gradient(models):
    model, plain = models
    X, V, _, c = data(model, 20)
    inner, (s, f) = model.scaling.inputs(X), scales(model)
    y, y_1, y_2 = model.taylor(X, V, order=2)
    _, inner_1, inner_2 = plain.taylor(inner, V * f, order=2)
    np.testing.assert_array_equal(y, model.predict(X))
    np.testing.assert_allclose(y_1, inner_1 * s, rtol=1e-12)
    np.testing.assert_allclose(y_2, inner_2 * s, rtol=1e-12)
    for order in (1, 2):
        cotangents = (c, 2 * c, -c)[: order + 1]
        gradient = model.taylor_vjp(X, V, cotangents)
        expected = plain.taylor_vjp(inner, V * f, tuple(s * c for c in cotangents))
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("rows", [1, 40])
def test_compiled_code_has_the_bits_of_numpy(models, rows):
    model, _ = models
    X, dX, dtheta, cotangent = data(model, rows)
    names = "vjp", "jvp", "input_jacobian", "input_hessian"
    net, work, theta = model.compiled(*names), model.workspace(rows, *names), model.parameters

    @njit
    def call(net, theta, X, dX, dtheta, cotangent, back_X, back_theta, y, dy, jacobian, hessian, work):
        fastbp.jit.vjp(net, theta, X, cotangent, back_X, back_theta, work)
        fastbp.jit.jvp(net, theta, X, dX, dtheta, y, dy, work)
        fastbp.jit.input_jacobian(net, theta, X, jacobian, work)
        fastbp.jit.input_hessian(net, theta, X, hessian, work)

    expected = [*model.vjp(X, cotangent), *model.jvp(X, dX, dtheta), model.input_jacobian(X), model.input_hessian(X)]
    found = [np.empty_like(array) for array in expected]
    call(net, theta, X, dX, dtheta, cotangent, *found, work)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
