"""fastbp.jit's derivatives in theta: the bits of Model, with every option that the cost has."""

import numba
import numpy as np
import pytest

import fastbp
from fastbp import Model, jit

ROWS = 1, 4, 5, 130


@numba.njit
def parameter_jacobian(net, theta, X, out, workspace):
    jit.parameter_jacobian(net, theta, X, out, workspace)


@numba.njit
def example_gradients(net, theta, X, y, out, workspace):
    jit.example_gradients(net, theta, X, y, out, workspace)


@numba.njit
def hessian_vector_product(net, theta, X, y, v, out, workspace):
    jit.hessian_vector_product(net, theta, X, y, v, out, workspace)


@numba.njit
def gauss_newton_vector_product(net, theta, X, y, v, out, workspace):
    jit.gauss_newton_vector_product(net, theta, X, y, v, out, workspace)


PRODUCTS = {
    "hessian_vector_product": hessian_vector_product, "gauss_newton_vector_product": gauss_newton_vector_product,
}  # fmt: skip
SCALING = fastbp.Scaling([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 0.5, 3.0], [1.0, 2.0, 0.0], [3.0, 0.1, 2.0])
MODELS = {
    "squared": {"l1": 0.01, "l2": 0.1},
    "sum": {"loss": "huber", "reduction": "sum", "bias": False},
    "standardized": {"standardize": SCALING},
    "classes": {"output": "softmax", "l2": 0.1},
    "smoothed classes": {"output": "softmax", "label_smoothing": 0.1},
    "smoothed labels": {"output": "sigmoid", "loss": "binary_cross_entropy", "label_smoothing": 0.2},
    "poisson": {"output": "exponential", "loss": "poisson"},
}


def problem(name, rows, dtype="float64"):
    """A model, X, y and a direction in theta."""
    options, rng = MODELS[name], np.random.default_rng(rows)
    model = Model((4, 9, 6, 3), ("tanh", "gelu"), dtype=dtype, **options)
    X = rng.normal(size=(rows, 4)).astype(dtype)
    y = rng.integers(3, size=rows) if "classes" in name else rng.random((rows, 3))
    return model, X, y.astype(dtype), rng.normal(size=model.parameters.size).astype(dtype)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", MODELS)
def test_products_with_second_derivatives_have_the_bits_of_model(name, rows, frozen):
    model, X, y, v = problem(name, rows)
    if frozen:
        model.trainable = (False, True, False)
    for what, call in PRODUCTS.items():
        net, work, out = model.compiled(what), model.workspace(rows, what), np.full_like(v, np.nan)
        call(net, model.parameters, X, y, v, out, work)
        np.testing.assert_array_equal(out, getattr(model, what)(X, y, v))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_jacobians_of_single_examples_have_the_bits_of_model(name, rows):
    model, X, y, v = problem(name, rows, "float32")
    names = "example_gradients", "parameter_jacobian"
    net, work = model.compiled(*names), model.workspace(rows, *names)
    out = np.full((rows, v.size), np.nan, np.float32)
    example_gradients(net, model.parameters, X, y, out, work)
    np.testing.assert_array_equal(out, model.example_gradients(X, y))
    jacobian = np.full((rows, 3, v.size), np.nan, np.float32)
    parameter_jacobian(net, model.parameters, X, jacobian, work)
    np.testing.assert_array_equal(jacobian, model.parameter_jacobian(X))


def test_standardized_models_differentiate_what_they_predict_and_minimize():
    model, X, y, v = problem("standardized", 30)
    jacobian, h = model.parameter_jacobian(X), 1e-6
    along = np.einsum("njp,p->nj", jacobian, v)
    ahead, behind = (model.predict(X, model.parameters + s * h * v) for s in (1, -1))
    np.testing.assert_allclose(along, (ahead - behind) / (2 * h), atol=1e-6)
    np.testing.assert_allclose(model.example_gradients(X, y).mean(0), model.value_and_gradient(X, y)[1], atol=1e-12)
    gradients = [model.value_and_gradient(X, y, theta=model.parameters + s * h * v)[1] for s in (1, -1)]
    expected = (gradients[0] - gradients[1]) / (2 * h)
    np.testing.assert_allclose(model.hessian_vector_product(X, y, v), expected, atol=1e-6 * abs(expected).max())


def test_frozen_layers_are_those_of_the_cost_alone():
    model, X, y, v = problem("squared", 20)
    model.trainable = (False, True, False)
    net = model.compiled("vjp", "jvp", "example_gradients")
    work = model.workspace(20, "vjp", "jvp", "example_gradients")

    @numba.njit
    def call(net, theta, X, y, v, dX, dtheta, outputs, slopes, gradients, work):
        jit.vjp(net, theta, X, y, dX, dtheta, work)
        jit.jvp(net, theta, X, None, v, outputs, slopes, work)
        jit.example_gradients(net, theta, X, y, gradients, work)

    expected = [*model.vjp(X, y), *model.jvp(X, dtheta=v), model.example_gradients(X, y)]
    found = [np.full_like(array, np.nan) for array in expected]
    call(net, model.parameters, X, y, v, *found, work)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not expected[-1][:, : 4 * 9].any()
    assert expected[1][: 4 * 9].all()


def test_what_a_model_has_not_is_refused_when_the_table_is_made():
    with pytest.raises(ValueError, match="gauss_newton_vector_product needs a loss"):
        Model((4, 3), loss="absolute_error").compiled("gauss_newton_vector_product")
    bump = fastbp.Activation(lambda z: z**3 / 3, lambda z: z * z)
    with pytest.raises(ValueError, match="hessian_vector_product needs"):
        Model((4, 3, 1), bump).compiled("hessian_vector_product")
