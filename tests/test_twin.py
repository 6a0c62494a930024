"""The twin proves itself: derivatives against central differences, shortcuts against their definitions."""

from functools import partial

import numpy as np
import pytest
import twin

ELEMENTWISE = [name for name in twin.ACTIVATIONS if name != "softmax"]
SOME = ["identity", "sigmoid", "tanh", "relu"]
H = 1e-5
LOSSES = ["squared_error", "half_squared_error", "cross_entropy", "binary_cross_entropy"]
FUSED = pytest.mark.parametrize(("output", "loss"), twin.FUSED)


def slopes(function, values):
    """∂f/∂values[n, i] for an f that maps (n, m) to (n, …) row by row: shape (n, …, m)."""
    columns = []
    for i in range(values.shape[1]):
        nudge = np.zeros_like(values)
        nudge[:, i] = H
        columns.append((function(values + nudge) - function(values - nudge)) / (2 * H))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activation_derivatives_are_the_slopes_of_what_they_derive(name):
    z = np.array([[-4.0], [-1.5], [-0.3], [0.2], [0.9], [3.5]])
    activation = twin.ACTIVATIONS[name]
    np.testing.assert_allclose(activation.first(z), slopes(activation.value, z)[..., 0], atol=1e-9)
    np.testing.assert_allclose(activation.second(z), slopes(activation.first, z)[..., 0], atol=1e-9)
    np.testing.assert_allclose(activation.third(z), slopes(activation.second, z)[..., 0], atol=1e-9)


def test_softmax_derivatives_are_the_slopes_of_what_they_derive():
    z = np.random.default_rng(0).normal(size=(3, 4))
    activation = twin.ACTIVATIONS["softmax"]
    np.testing.assert_allclose(activation.first(z), slopes(activation.value, z), atol=1e-9)
    np.testing.assert_allclose(activation.second(z), slopes(activation.first, z), atol=1e-9)


@pytest.mark.parametrize("name", twin.LOSSES)
def test_loss_derivatives_are_the_slopes_of_what_they_derive(name):
    rng = np.random.default_rng(1)
    a, y, loss = rng.uniform(0.1, 0.9, (5, 4)), rng.uniform(0, 1, (5, 4)), twin.LOSSES[name]
    y = y[:, :2] if name == "gaussian_nll" else y
    np.testing.assert_allclose(loss.delta(a, y), slopes(lambda v: loss.value(v, y), a), rtol=1e-7, atol=1e-8)
    second = slopes(lambda v: loss.delta(v, y), a)
    np.testing.assert_allclose(loss.second(a, y), np.einsum("njj->nj", second), rtol=1e-6, atol=1e-10)
    assert name == "gaussian_nll" or not np.any(second * (1 - np.eye(4))), "there are no mixed second derivatives"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("output", [*SOME, "softmax"])
@pytest.mark.parametrize("hidden", SOME)
def test_gradient_is_the_slope_of_the_cost(hidden, output, loss, reduction):
    assert_slopes(hidden, output, loss, reduction)


@pytest.mark.parametrize("loss", [loss for loss in twin.LOSSES if loss not in LOSSES])
def test_gradient_of_the_other_losses_is_the_slope_of_the_cost(loss):
    for output in [*SOME, "softmax"]:
        assert_slopes("tanh", output, loss, "mean")


def assert_slopes(hidden, output, loss, reduction):
    net = twin.Net((3, 4, 3, 2), hidden, output, loss, reduction=reduction)
    theta, X, y = twin.problem(net, rows=4)
    weight = np.array([1.0, 0.0, 2.5, 0.5])
    _, gradient = twin.value_and_gradient(net, theta, X, y, weight)
    numeric = twin.central_differences(lambda t: twin.cost(net, t, X, y, weight), theta)
    np.testing.assert_allclose(gradient, numeric, atol=1e-7 * np.abs(gradient).max())


@FUSED
def test_fused_pairs_agree_with_the_plain_chain_rule(output, loss):
    net = twin.Net((3, 4), output=output, loss=loss)
    theta, X, y = twin.problem(net, rows=6)
    z, a = twin.forward(net, theta, X)
    plain = twin.LOSSES[loss]
    np.testing.assert_allclose(twin.example_costs(net, z[-1], y), plain.value(a[-1], y), rtol=1e-13)
    chained = twin.through(output, z[-1], plain.delta(a[-1], y))
    np.testing.assert_allclose(twin.output_dz(net, z[-1], a[-1], y), chained, atol=1e-14)


@pytest.mark.parametrize(("output", "loss"), [pair for pair in twin.FUSED if pair[0] != "exponential"])
def test_fused_pairs_stay_finite_where_the_outputs_round_to_zero_and_one(output, loss):
    net = twin.Net((2, 2), output=output, loss=loss)
    z, y = np.array([[-800.0, 800.0]]), np.array([[1.0, 0.0]])
    distance = 1600.0  # two halves of 800 for the sigmoids, one difference for the softmax
    np.testing.assert_allclose(twin.example_costs(net, z, y), [distance], rtol=1e-15)
    a = twin.ACTIVATIONS[output].value(z)
    np.testing.assert_allclose(twin.output_dz(net, z, a, y), [[-1.0, 1.0]], rtol=1e-15)


def test_classes_are_rows_with_a_single_one():
    net = twin.Net((3, 5), output="softmax", loss="cross_entropy")
    theta, X, y = twin.problem(net, rows=7, classes=True)
    cost, gradient = twin.value_and_gradient(net, theta, X, y)
    rows_cost, rows_gradient = twin.value_and_gradient(net, theta, X, np.eye(5)[y])
    assert cost == rows_cost
    np.testing.assert_array_equal(gradient, rows_gradient)


def test_a_weight_of_two_is_an_example_given_twice():
    net = twin.Net((3, 4, 2), "tanh")
    theta, X, y = twin.problem(net, rows=4)
    twice = [0, 1, 1, 3]
    weighted = twin.value_and_gradient(net, theta, X, y, [1, 2, 0, 1])
    repeated = twin.value_and_gradient(net, theta, X[twice], y[twice])
    np.testing.assert_allclose(weighted[0], repeated[0], rtol=1e-14)
    np.testing.assert_allclose(weighted[1], repeated[1], rtol=1e-12)


def test_theta_holds_w_jk_at_element_k_n_out_plus_j():
    net = twin.Net((2, 3, 1), "tanh")
    pairs = twin.layers(net, np.arange(13))
    assert [[pairs[0][0][j, k] for k in range(2)] for j in range(3)] == [[0, 3], [1, 4], [2, 5]]
    assert pairs[0][1].tolist() == [6, 7, 8]
    assert pairs[1][0].tolist() == [[9, 10, 11]]
    assert pairs[1][1].tolist() == [12]
    assert twin.flat(net, pairs).tolist() == list(range(13))
    assert list(twin.blocks(net, np.arange(13))) == ["w(1)", "b(1)", "w(2)", "b(2)"]


def test_momentum_and_nesterov_are_the_classical_recursions():
    """v <- μv + g; nesterov is plain momentum seen from the look-ahead point theta − η μ v."""

    def slope(theta):
        return 3 * theta

    theta, look, v, state_m, state_n = np.array([1.0]), np.array([1.0]), np.zeros(1), None, None
    by_hand, ahead_v = np.array([1.0]), np.zeros(1)
    ahead = np.array([1.0])
    for _ in range(5):
        theta, state_m = twin.sgd_step(theta, slope(theta), state_m, 0.1, 0.9)
        v = 0.9 * v + slope(by_hand)
        by_hand = by_hand - 0.1 * v
        np.testing.assert_allclose(theta, by_hand, rtol=1e-14)

        look, state_n = twin.sgd_step(look, slope(look), state_n, 0.1, 0.9, nesterov=True)
        ahead_v = 0.9 * ahead_v + slope(ahead - 0.1 * 0.9 * ahead_v)
        ahead = ahead - 0.1 * ahead_v
        np.testing.assert_allclose(look, ahead - 0.1 * 0.9 * ahead_v, rtol=1e-14)


def test_adam_starts_with_a_step_of_the_learning_rate_and_follows_its_sums():
    gradients = [np.array([4.0, -1e-3]), np.array([1.0, 2e-3]), np.array([-2.0, 5e-3])]
    theta, state = twin.adam_step(np.zeros(2), gradients[0], None, 0.01)
    np.testing.assert_allclose(theta, [-0.01, 0.01], rtol=1e-4)
    for t in (2, 3):
        before = theta
        theta, state = twin.adam_step(theta, gradients[t - 1], state, 0.01)
        m = sum(0.9 ** (t - s) * gradients[s - 1] for s in range(1, t + 1)) * 0.1 / (1 - 0.9**t)
        v = sum(0.999 ** (t - s) * gradients[s - 1] ** 2 for s in range(1, t + 1)) * 0.001 / (1 - 0.999**t)
        np.testing.assert_allclose(before - theta, 0.01 * m / (np.sqrt(v) + 1e-8), rtol=1e-12)


def test_a_trajectory_visits_the_batches_in_order_and_lowers_the_cost():
    net = twin.Net((3, 5, 2), "tanh")
    theta, X, y = twin.problem(net, rows=7)
    step = partial(twin.sgd_step, learning_rate=0.05)
    thetas, costs = twin.trajectory(net, theta, X, y, step, epochs=4, batch_size=3)
    assert len(thetas) == 1 + 4 * 3
    assert costs.shape == (4,)
    _, last = twin.value_and_gradient(net, thetas[2], X[6:], y[6:])
    np.testing.assert_allclose(thetas[3], thetas[2] - 0.05 * last, rtol=1e-14)
    assert np.all(np.diff(costs) < 0)


def test_problems_switch_relu_units_and_keep_off_their_kinks():
    net = twin.Net((5, 20, 20, 3), "relu")
    theta, X, _ = twin.problem(net, rows=30)
    z, _ = twin.forward(net, theta, X)
    for layer in z[:2]:
        on = (layer > 0).mean(axis=0)
        assert np.abs(layer).min() > 1e-3
        assert np.any((on > 0) & (on < 1))
