"""Derivatives in theta: against the loops of core/reference_derivatives.py, differences, and each other."""

import math
import sys

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


TANH = (
    njit(lambda z: math.tanh(z)),
    njit(lambda z: 1 - math.tanh(z) ** 2),
    njit(lambda z: -2 * math.tanh(z) * (1 - math.tanh(z) ** 2)),
)


def layers_of(model):
    """The layers that core/reference_derivatives.py takes, with tanh in all."""
    pairs = zip(model.weights, model.biases, strict=True)
    return [(np.ascontiguousarray(w), np.ascontiguousarray(b), *TANH) for w, b in pairs]


def theta_of(model, pairs):
    """The vector like the parameters, of (w, b) of each layer."""
    theta = np.empty_like(model.parameters)
    views = zip(model.network.weights(theta), model.network.biases(theta), pairs, strict=True)
    for w_view, b_view, (w, b) in views:
        w_view[...], b_view[...] = w, b
    return theta


def close(found, wanted, tolerance):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * max(1.0, np.abs(wanted).max()))


# --- one example at a time --------------------------------------------------------------------------------------------


def each_gradient(model, X, y):
    """The gradient of each C_n, by calls of value_and_gradient with one row."""
    return np.stack([model.value_and_gradient(X[n : n + 1], y[n : n + 1])[1] for n in range(len(X))])


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_example_gradients_are_those_of_single_calls(loss, rows):
    for sizes in SIZES:
        model = model_of(sizes, "silu", *loss)
        X, y, _ = examples_of(np.random.default_rng(rows), model, rows)
        found, wanted = model.example_gradients(X, y), each_gradient(model, X, y)
        close(found, wanted, 1e-13)
        close(found.mean(axis=0), model.value_and_gradient(X, y)[1], 1e-13)
        close(model.example_gradient_norms(X, y), np.linalg.norm(wanted, axis=1), 1e-13)


@pytest.mark.parametrize("rows", ROWS)
def test_example_gradients_of_class_indices_smoothing_and_no_biases(rows):
    model = model_of((3, 9, 5), "relu", "softmax", "cross_entropy", label_smoothing=0.1, bias=False)
    rng = np.random.default_rng(rows)
    X, y = rng.normal(size=(rows, 3)), rng.integers(0, 5, rows)
    wanted = each_gradient(model, X, y)
    close(model.example_gradients(X, y), wanted, 1e-13)
    close(model.example_gradient_norms(X, y), np.linalg.norm(wanted, axis=1), 1e-13)


def test_example_gradients_have_no_weight_decay_and_nothing_of_frozen_layers():
    model = model_of((3, 4, 5, 2))
    X, y, _ = examples_of(np.random.default_rng(0), model, 7)
    wanted = model.example_gradients(X, y)
    decayed = model_of((3, 4, 5, 2), l1=0.1, l2=0.1)
    decayed.trainable = (False, True, False)
    begin, end = model.network.offsets[1:3]
    wanted[:, :begin] = wanted[:, end:] = 0
    np.testing.assert_array_equal(decayed.example_gradients(X, y), wanted)
    close(decayed.example_gradient_norms(X, y), np.linalg.norm(wanted, axis=1), 1e-13)


@pytest.mark.parametrize("output", ["identity", "softmax", "tanh"])
@pytest.mark.parametrize("rows", ROWS)
def test_parameter_jacobian_is_made_of_vjps(rows, output):
    for sizes in SIZES:
        model = model_of(sizes, "gelu", output)
        X, _, _ = examples_of(np.random.default_rng(rows), model, rows)
        J = model.parameter_jacobian(X)
        assert J.shape == (rows, sizes[-1], model.parameters.size)
        for n in range(0, rows, 7):
            for j, e in enumerate(np.eye(sizes[-1])):
                close(J[n, j], model.vjp(X[n : n + 1], e[None])[1], 1e-13)
        for chunks in (1, 3, rows):
            blocks = list(model.parameter_jacobian(X, chunks=chunks))
            assert max(map(len, blocks)) == min(chunks, rows)
            np.testing.assert_array_equal(np.concatenate(blocks), J)


def test_single_precision_is_as_good_as_it_can_be():
    for sizes in SIZES:
        double = model_of(sizes, "silu", "softmax", "cross_entropy")
        X, y, weights = examples_of(np.random.default_rng(0), double, 23)
        single = fastbp.Model(sizes, "silu", "softmax", loss="cross_entropy", dtype="float32")
        single.parameters[:] = double.parameters
        v = np.random.default_rng(1).normal(size=double.parameters.shape)
        for name, *arguments in (
            ("example_gradients", X, y),
            ("example_gradient_norms", X, y),
            ("parameter_jacobian", X),
            ("hessian_vector_product", X, y, v, weights),
            ("gauss_newton_vector_product", X, y, v, weights),
        ):
            close(getattr(single, name)(*arguments), getattr(double, name)(*arguments), 1e-5)


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


def test_linear_operators_are_the_products():
    linalg = pytest.importorskip("scipy.sparse.linalg")
    model, rng = model_of((5, 9, 3), "tanh", "softmax", "cross_entropy", l2=0.1), np.random.default_rng(0)
    X, y, weights = examples_of(rng, model, 6)
    v, u = rng.normal(size=model.parameters.shape), rng.normal(size=18)
    J = model.linear_operator("jacobian", X)
    dense = model.parameter_jacobian(X).reshape(18, -1)
    close(J @ v, dense @ v, 1e-13)
    close(J.T @ u, dense.T @ u, 1e-13)
    for kind in ("hessian", "gauss_newton"):
        H = model.linear_operator(kind, X, y, weights)
        assert H.shape == (v.size, v.size)
        assert H.dtype == np.float64
        np.testing.assert_array_equal(H @ v, getattr(model, f"{kind}_vector_product")(X, y, v, weights))
        np.testing.assert_array_equal(H.T @ v, H @ v)
    solution, _ = linalg.cg(H, H @ v, rtol=1e-12, maxiter=1000)
    close(H @ solution, H @ v, 1e-9)
    with pytest.raises(ValueError, match=r"kind must be .*, got 'fisher'"):
        model.linear_operator("fisher", X)
    with pytest.raises(ValueError, match="needs y"):
        model.linear_operator("hessian", X)
    with pytest.raises(ValueError, match="got loss 'hinge'"):
        model_of((5, 9, 3), loss="hinge").linear_operator("gauss_newton", X, y)


def test_without_scipy_linear_operators_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse.linalg", None)
    with pytest.raises(ImportError, match="linear_operator needs SciPy"):
        model_of((3, 2)).linear_operator("jacobian", np.zeros((4, 3)))


@pytest.mark.parametrize("kind", ["inputs", "both"])
@pytest.mark.parametrize("rows", ROWS)
def test_of_standardized_models_the_cost_is_the_standardized_one_and_outputs_are_raw(rows, kind):
    rng = np.random.default_rng(rows)
    model = model_of((3, 9, 17, 2), "tanh", loss="log_cosh", standardize=kind, l2=0.1)
    y, weights = rng.normal(2, 3, (rows, 2)), rng.uniform(0.5, 2, rows)
    model.learn_scaling(rng.normal(5, 4, (50, 3)), rng.normal(2, 3, (50, 2)))
    X, v, theta, h = rng.normal(5, 4, (rows, 3)), rng.normal(size=model.parameters.shape), model.parameters, 3e-6
    ahead, behind = (model.value_and_gradient(X, y, weights, theta + s * h * v)[1] for s in (1, -1))
    close(model.hessian_vector_product(X, y, v, weights), (ahead - behind) / (2 * h), 1e-7)
    gradients = model.example_gradients(X, y)
    close(weights @ gradients / weights.sum(), model.value_and_gradient(X, y, weights)[1] - decay(model), 1e-13)
    close(model.example_gradient_norms(X, y), np.linalg.norm(gradients, axis=1), 1e-13)
    J, u = model.parameter_jacobian(X), rng.normal(size=(rows, 2))
    close(J @ v, model.jvp(X, dtheta=v)[1], 1e-13)
    close(np.einsum("nj,njp", u, J), model.vjp(X, u)[1], 1e-12)
    squares = model_of((3, 9, 17, 2), "tanh", loss="half_squared_error", standardize=kind, reduction="sum")
    squares.scaling = model.scaling
    scale = model.scaling.output_scale if kind == "both" else np.ones(2)
    inner = (J / scale[:, None]).reshape(2 * rows, -1)
    close(squares.gauss_newton_vector_product(X, y, v), inner.T @ (inner @ v), 1e-12)


def decay(model):
    """The gradient of the penalty l2 = 0.1."""
    pairs = zip(model.weights, model.biases, strict=True)
    return theta_of(model, [(0.1 * w, 0 * b) for w, b in pairs])


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_any_number_of_threads_gives_the_same_bits(threads):
    model, rng = model_of((13, 40, 33, 4), "gelu"), np.random.default_rng(0)
    X, y, weights = examples_of(rng, model, 5000)
    v = rng.normal(size=model.parameters.shape)

    def all_of_them():
        return (
            model.hessian_vector_product(X, y, v, weights),
            model.gauss_newton_vector_product(X, y, v, weights),
            model.example_gradients(X, y),
            model.example_gradient_norms(X, y),
            model.parameter_jacobian(X[:2000]),
        )

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
    for chunks in (0, 1.5):
        with pytest.raises((TypeError, ValueError), match="chunks must"):
            square.parameter_jacobian(X, chunks=chunks)
    with pytest.raises(ValueError, match="v must have shape"):
        square.gauss_newton_vector_product(X, y, v[1:])
