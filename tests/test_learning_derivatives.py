"""fit with dy: values and derivatives learned together, by the gradient of the cost that is written down."""

import numpy as np
import pytest

import fastbp

NETWORKS = [
    ((3, 1), (), "softplus"),
    ((3, 7, 1), "tanh", "identity"),
    ((2, 20, 5, 3), ("gelu", "sin"), "identity"),
    ((5, 9, 4), "silu", "softmax"),
    ((4, 33, 2), "sigmoid", "sigmoid"),
]


def data(model, rows, seed=0):
    """X, y and dy, a fifth of it unknown."""
    rng, network = np.random.default_rng(seed), model.network
    X, y = rng.normal(size=(rows, network.n_inputs)), rng.random((rows, network.n_outputs))
    dy = rng.normal(size=(rows, network.n_outputs, network.n_inputs))
    dy[rng.random(dy.shape) < 0.2] = np.nan
    return X, y, dy


def model_of(sizes, hidden, output, **options):
    model = fastbp.Model(sizes, hidden, output, **{"loss": "squared_error", "dtype": "float64"} | options)
    model.parameters += np.random.default_rng(1).normal(size=model.parameters.size) * 0.2
    return model


def cost_of(model, theta, X, y, dy, weight, w):
    """Σ w_n (loss + λ Σ (∂y/∂x - dy)²) / Σ w_n, the derivatives by jvp along each input."""
    model.parameters[:] = theta
    total = model.evaluate(X, y, w)["cost"]
    for k in range(X.shape[1]):
        direction = np.zeros_like(X)
        direction[:, k] = 1
        total += weight * np.average(np.nansum((model.jvp(X, direction)[1] - dy[:, :, k]) ** 2, axis=1), weights=w)
    return total


def gradient_of_fit(model, X, y, dy, weight, w, rows=None):
    """(cost, gradient) of the step that one epoch of plain gradient descent makes."""
    before = model.parameters.copy()
    history = model.fit(
        X, y, 1, rows or len(X), fastbp.SGD(1e-3), sample_weight=w, shuffle=False, dy=dy, derivative_weight=weight
    )
    gradient = (before - model.parameters) / 1e-3
    model.parameters[:] = before
    return history.cost[0], gradient


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("rows", [1, 3, 5, 50, 400])
def test_a_step_follows_the_gradient_of_the_cost_with_derivatives(network, rows):
    model = model_of(*network)
    X, y, dy = data(model, rows)
    w = np.random.default_rng(2).integers(0, 3, rows) + (rows == 1) * 1.0
    w[0] = 1
    cost, gradient = gradient_of_fit(model, X, y, dy, 0.3, w)
    theta, h = model.parameters.copy(), 1e-6
    assert cost == pytest.approx(cost_of(model, theta, X, y, dy, 0.3, w), rel=1e-12)
    for p in np.random.default_rng(3).choice(theta.size, min(theta.size, 25), replace=False):
        step = np.zeros_like(theta)
        step[p] = h
        ahead, behind = (cost_of(model, theta + s * step, X, y, dy, 0.3, w) for s in (1, -1))
        assert gradient[p] == pytest.approx((ahead - behind) / (2 * h), abs=2e-7 * max(1, abs(gradient).max()))


def test_unknown_derivatives_alone_leave_the_step_of_the_values():
    model = model_of((3, 7, 2), "tanh", "identity")
    X, y, dy = data(model, 40)
    _, with_nothing = gradient_of_fit(model, X, y, np.full_like(dy, np.nan), 1.0, None)
    np.testing.assert_allclose(with_nothing, model.value_and_gradient(X, y)[1], atol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "huber"])
def test_losses_with_a_stable_form_keep_it(loss):
    output = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}.get(loss, "identity")
    model = model_of((4, 9, 3), "tanh", output, loss=loss)
    X, y, dy = data(model, 30)
    y /= y.sum(axis=1, keepdims=True)
    w = np.ones(30)
    cost, gradient = gradient_of_fit(model, X, y, dy, 0.5, w)
    theta, step = model.parameters.copy(), np.random.default_rng(0).normal(size=model.parameters.size)
    assert cost == pytest.approx(cost_of(model, theta, X, y, dy, 0.5, w), rel=1e-12)
    ahead, behind = (cost_of(model, theta + s * 1e-6 * step, X, y, dy, 0.5, w) for s in (1, -1))
    assert gradient @ step == pytest.approx((ahead - behind) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch", [7, 64, 500])
def test_any_number_of_threads_gives_the_same_bits(shuffle, batch):
    results = []
    for threads in (1, 2, 3):
        model = model_of((3, 16, 16, 2), "tanh", "identity", dtype="float32")
        X, y, dy = data(model, 500)
        model.fit(X, y, 3, batch, shuffle=shuffle, n_threads=threads, dy=dy)
        results.append(model.parameters)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_the_standardized_network_learns_derivatives_given_in_raw_units():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) * [3, 0.1] + [10, 1]
    y = 50 * np.sin(X[:, :1] / 3) + 200 * X[:, 1:] + 1000
    dy = np.stack([50 / 3 * np.cos(X[:, 0] / 3), np.full(len(X), 200.0)], axis=1)
    model = fastbp.Model((2, 12, 1), "tanh", standardize="both", dtype="float64")
    model.fit(X, y, 300, 50, fastbp.Adam(0.01), dy=dy)
    scaling = model.scaling
    plain = fastbp.Model((2, 12, 1), "tanh", dtype="float64")
    scaled_dy = dy[:, None] * scaling.of_derivatives
    plain.fit(scaling.inputs(X), scaling.targets(y), 300, 50, fastbp.Adam(0.01), dy=scaled_dy)
    np.testing.assert_array_equal(model.parameters, plain.parameters)


def test_derivatives_make_a_surrogate_better_than_values_alone():
    def noisy_free(X):
        return np.sin(3 * X[:, :1]) * X[:, 1:]

    rng = np.random.default_rng(0)
    X, held_out = rng.uniform(-1, 1, (30, 2)), rng.uniform(-1, 1, (1000, 2))
    dy = np.stack([3 * np.cos(3 * X[:, 0]) * X[:, 1], np.sin(3 * X[:, 0])], axis=1)
    errors = {}
    for name, options in (("values", {}), ("both", {"dy": dy, "derivative_weight": 0.1})):
        model = fastbp.Model((2, 32, 32, 1), "tanh", dtype="float64")
        model.fit(X, noisy_free(X), 2000, 10, fastbp.Adam(0.003), **options)
        errors[name] = np.sqrt(np.mean((model.predict(held_out) - noisy_free(held_out)) ** 2))
    assert errors["both"] < 0.5 * errors["values"]


def test_frozen_layers_keep_their_bits():
    model = model_of((3, 8, 8, 2), "tanh", "identity")
    model.trainable = (False, True, True)
    X, y, dy = data(model, 50)
    before, (w, _, _) = model.parameters.copy(), model.weights
    _, gradient = gradient_of_fit(model, X, y, dy, 1.0, None)
    assert not gradient[: w.size + 8].any()
    free = model_of((3, 8, 8, 2), "tanh", "identity")
    np.testing.assert_allclose(
        gradient[w.size + 8 :], gradient_of_fit(free, X, y, dy, 1.0, None)[1][w.size + 8 :], atol=1e-9
    )
    np.testing.assert_array_equal(model.parameters, before)


def test_an_interrupted_run_goes_on(tmp_path):
    model = model_of((3, 8, 2), "tanh", "identity")
    X, y, dy = data(model, 50)
    whole = model_of((3, 8, 2), "tanh", "identity")
    whole.fit(X, y, 4, dy=dy)
    model.fit(X, y, 4, dy=dy, checkpoint=tmp_path / "run", callbacks=[lambda state: state.epoch == 2])
    resumed = fastbp.Model.resume(tmp_path / "run")
    with pytest.raises(ValueError, match="dy must be given again"):
        resumed.fit(X, y)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "hard_sigmoid"])
def test_activations_of_straight_pieces_are_refused_with_a_word_why(activation):
    model = fastbp.Model((2, 3, 1), activation)
    with pytest.raises(ValueError, match=f"dy cannot be learned by the activation '{activation}': its pieces"):
        model.fit(np.zeros((2, 2)), np.zeros((2, 1)), dy=np.zeros((2, 2)))


def test_what_is_wrong_is_named():
    model, X, y = fastbp.Model((2, 3, 2), "tanh"), np.zeros((4, 2)), np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"the shape \(rows, outputs, inputs\), \(4, 2, 2\), got \(4, 2\)"):
        model.fit(X, y, dy=np.zeros((4, 2)))
    with pytest.raises(ValueError, match="dy must not be infinite"):
        model.fit(X, y, dy=np.full((4, 2, 2), np.inf))
    with pytest.raises(ValueError, match="derivative_weight"):
        model.fit(X, y, dy=np.zeros((4, 2, 2)), derivative_weight=0)
    with pytest.raises(ValueError, match="dropout must be 0 with dy"):
        fastbp.Model((2, 3, 2), "tanh", dropout=0.5).fit(X, y, dy=np.zeros((4, 2, 2)))
