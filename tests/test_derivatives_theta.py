"""Derivatives in theta: against the loops of core/reference_derivatives.py, differences, and each other."""

import math

import numpy as np
import pytest
from numba import njit

import fastbp
from fastbp.core import reference_derivatives

LOSSES = [
    ("softmax", "cross_entropy"),
    ("sigmoid", "cross_entropy"),
    ("softmax", "kullback_leibler"),
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "binary_cross_entropy"),
    ("exponential", "poisson"),
    ("softplus", "poisson"),
    ("identity", "squared_error"),
    ("tanh", "log_cosh"),
    ("softmax", fastbp.Huber(0.3)),
    ("identity", "gaussian_nll"),
]
SIZES = ((3, 6), (13, 5, 4), (2, 17, 33, 10), (5, 1, 9, 7, 2))
ROWS = (1, 4, 23, 150)
CUBE = fastbp.Loss(lambda a, y: (a - y) ** 3, lambda a, y: 3 * (a - y) ** 2, lambda a, y: 6 * (a - y), name="cube")
SLOPE_ONLY = fastbp.Activation(lambda z: z * z, lambda z: 2 * z, name="square")


def model_of(sizes, hidden="tanh", output="identity", loss="squared_error", **settings):
    model = fastbp.Model(sizes, hidden, output, loss=loss, dtype="float64", seed=1, **settings)
    model.parameters += np.random.default_rng(1).normal(size=model.parameters.size) * 0.1
    return model


def examples_of(rng, model, rows):
    """X, y that suits the loss (probabilities, or numbers from 0 to 1), and weights, one of them 0 unless all are."""
    n_in, n_out = model.network.n_inputs, model.network.n_outputs
    y = rng.uniform(0.1, 0.9, (rows, n_out // 2 if model.loss == "gaussian_nll" else n_out))
    if model.loss in ("cross_entropy", "kullback_leibler"):
        y /= y.sum(axis=1, keepdims=True)
    weights = rng.uniform(0.5, 2, rows)
    weights[rows // 2] *= rows == 1
    return 0.5 * rng.normal(size=(rows, n_in)), y, weights  # so small that no softmax is saturated


def layers_of(model):
    """The layers that core/reference_derivatives.py takes, with tanh in all."""
    tanh, first = njit(lambda z: math.tanh(z)), njit(lambda z: 1 - math.tanh(z) ** 2)
    second = njit(lambda z: -2 * math.tanh(z) * (1 - math.tanh(z) ** 2))
    pairs = zip(model.weights, model.biases, strict=True)
    return [(np.ascontiguousarray(w), np.ascontiguousarray(b), tanh, first, second) for w, b in pairs]


def theta_of(model, pairs):
    """The vector like the parameters, of (w, b) of each layer."""
    theta = np.empty_like(model.parameters)
    views = zip(model.network.weights(theta), model.network.biases(theta), pairs, strict=True)
    for w_view, b_view, (w, b) in views:
        w_view[...], b_view[...] = w, b
    return theta


def close(found, wanted, tolerance):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * max(1.0, np.abs(wanted).max()))


# --- second derivatives in theta --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "reduction"), [*((rows, "mean") for rows in ROWS), (4, "sum")])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_hessian_vector_product_is_the_slope_of_the_gradient(loss, rows, reduction):
    for sizes in SIZES:
        model, rng = model_of(sizes, "silu", *loss, l2=0.1, reduction=reduction), np.random.default_rng(rows)
        X, y, weights = examples_of(rng, model, rows)
        v, theta, h = rng.normal(size=model.parameters.shape), model.parameters, 3e-6
        ahead, behind = (model.value_and_gradient(X, y, weights, theta + s * h * v)[1] for s in (1, -1))
        close(model.hessian_vector_product(X, y, v, weights), (ahead - behind) / (2 * h), 1e-7)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("loss", LOSSES[:-1], ids=str)
def test_products_are_symmetric(loss, kind, rows):
    for sizes in SIZES:
        model, rng = model_of(sizes, "gelu", *loss, l2=0.1), np.random.default_rng(rows)
        X, y, weights = examples_of(rng, model, rows)
        v, w = rng.normal(size=(2, model.parameters.size))
        Hv, Hw = (getattr(model, f"{kind}_vector_product")(X, y, u, weights) for u in (v, w))
        assert abs(w @ Hv - v @ Hw) <= 1e-12 * np.linalg.norm(w) * np.linalg.norm(Hv)
        if kind == "gauss_newton":
            assert v @ Hv > 0


@pytest.mark.parametrize("rows", ROWS)
def test_products_are_those_of_the_written_loops(rows):
    for sizes in SIZES:
        model, rng = model_of(sizes, "tanh", "tanh", reduction="sum"), np.random.default_rng(rows)
        X, y, _ = examples_of(rng, model, rows)
        v = rng.normal(size=model.parameters.shape)
        direction = [
            tuple(map(np.ascontiguousarray, pair))
            for pair in zip(model.network.weights(v), model.network.biases(v), strict=True)
        ]
        layers, curvature = layers_of(model), lambda a: np.full_like(a, 2.0)
        slope = lambda a, y=y: 2 * (a - y)  # noqa: E731
        Hv = reference_derivatives.hessian_vector_product(layers, X, direction, slope, curvature)
        close(model.hessian_vector_product(X, y, v), theta_of(model, Hv), 1e-12)
        Gv = reference_derivatives.gauss_newton_vector_product(layers, X, direction, curvature)
        close(model.gauss_newton_vector_product(X, y, v), theta_of(model, Gv), 1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_indices_are_rows_of_probabilities(smoothing):
    for output in ("softmax", "sigmoid"):
        model = model_of((4, 9, 5), "tanh", output, "cross_entropy", label_smoothing=smoothing)
        rng = np.random.default_rng(0)
        X, y, v = rng.normal(size=(30, 4)), rng.integers(0, 5, 30), rng.normal(size=model.parameters.shape)
        for product in (model.hessian_vector_product, model.gauss_newton_vector_product):
            close(product(X, y, v), product(X, np.eye(5)[y], v), 1e-13)


def test_an_example_of_weight_0_is_absent_whatever_it_holds():
    model, rng = model_of((4, 9, 5), "softplus", "exponential", "poisson"), np.random.default_rng(0)
    X, y, v = rng.normal(size=(9, 4)), rng.uniform(size=(9, 5)), rng.normal(size=model.parameters.shape)
    weights = np.arange(9.0)
    X[0] = 1e6  # e^z is infinite
    for product in (model.hessian_vector_product, model.gauss_newton_vector_product):
        np.testing.assert_array_equal(product(X, y, v, weights), product(X[1:], y[1:], v, weights[1:]))


def test_where_a_custom_loss_is_concave_gauss_newton_takes_it_for_flat():
    model, rng = model_of((3, 4, 2), loss=CUBE), np.random.default_rng(0)
    X, v = rng.normal(size=(6, 3)), rng.normal(size=model.parameters.shape)
    above, below = (model.predict(X) + distance for distance in (1, -1))
    np.testing.assert_array_equal(model.gauss_newton_vector_product(X, above, v), 0.0)
    squares = model_of((3, 4, 2), loss="half_squared_error")
    close(model.gauss_newton_vector_product(X, below, v), 6 * squares.gauss_newton_vector_product(X, below, v), 1e-12)


def test_products_are_0_in_frozen_layers_and_of_directions_there():
    model, rng = model_of((3, 4, 5, 2), l2=0.1), np.random.default_rng(0)
    X, y, _ = examples_of(rng, model, 7)
    v = rng.normal(size=model.parameters.shape)
    whole = np.stack([model.hessian_vector_product(X, y, e) for e in np.eye(v.size)])
    model.trainable = (False, True, False)
    free = slice(model.network.offsets[1], model.network.offsets[2])
    wanted = np.zeros_like(v)
    wanted[free] = whole[free, free] @ v[free]
    close(model.hessian_vector_product(X, y, v), wanted, 1e-13)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_any_number_of_threads_gives_the_same_bits(threads):
    model, rng = model_of((13, 40, 33, 4), "gelu"), np.random.default_rng(0)
    X, y, weights = examples_of(rng, model, 5000)
    v = rng.normal(size=model.parameters.shape)

    def all_of_them():
        return model.hessian_vector_product(X, y, v, weights), model.gauss_newton_vector_product(X, y, v, weights)

    with fastbp.thread_limit(1):
        alone = all_of_them()
    with fastbp.thread_limit(threads):
        together = all_of_them()
    for one, several in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, several)


def test_what_has_no_second_derivative_is_refused_by_name():
    X, y = np.zeros((4, 3)), np.zeros((4, 2))
    square = model_of((3, 4, 2), SLOPE_ONLY)
    v = np.zeros_like(square.parameters)
    with pytest.raises(ValueError, match="got 'square' without"):
        square.hessian_vector_product(X, y, v)
    square.gauss_newton_vector_product(X, y, v)
    no_second = fastbp.Loss(CUBE.value, CUBE.derivative, name="slope_only")
    for product in ("hessian_vector_product", "gauss_newton_vector_product"):
        with pytest.raises(ValueError, match=f"{product} .* got 'slope_only' without"):
            getattr(model_of((3, 4, 2), loss=no_second), product)(X, y, v)
    for loss in ("absolute_error", "quantile", "hinge", "gaussian_nll"):
        with pytest.raises(ValueError, match=f"got loss '{loss}'"):
            model_of((3, 4, 2), loss=loss).gauss_newton_vector_product(X, y, v)
    with pytest.raises(ValueError, match="v must have shape"):
        square.gauss_newton_vector_product(X, y, v[1:])
