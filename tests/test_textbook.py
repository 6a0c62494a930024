"""Three textbook systems, reproduced to 1e-12 in float64, with every formula written out per index."""

from math import cosh, exp, tanh

import numpy as np
import pytest

from fastbp import SGD, Model

EXACT = {"rtol": 1e-12, "atol": 1e-14}


def sigmoid(z):
    return 1 / (1 + exp(-z))


# σ and σ' of one number.
FUNCTIONS = {
    "sigmoid": (sigmoid, lambda z: exp(-z) / (1 + exp(-z)) ** 2),
    "tanh": (tanh, lambda z: 1 / cosh(z) ** 2),
    "relu": (lambda z: max(z, 0.0), lambda z: 1.0 if z > 0 else 0.0),
}


# 1. The chain with one neuron per layer: 1-1-1-1, sigmoid, cost (a − y)².

W1, B1, W2, B2, W3, B3 = CHAIN_THETA = 1.5, -0.4, -2.0, 0.7, 0.8, 0.3
CHAIN_X, CHAIN_Y = (0.9, -0.3, 0.25, 2.0), (1.0, 0.0, 0.6, 0.2)
CHAIN = list(zip(CHAIN_X, CHAIN_Y, strict=True))


def chain_model():
    return Model(
        (1, 1, 1, 1),
        hidden="sigmoid",
        output="sigmoid",
        loss="squared_error",
        dtype="float64",
        initial=[([[W1]], [B1]), ([[W2]], [B2]), ([[W3]], [B3])],
    )


def column(numbers):
    return np.array(numbers, dtype=np.float64).reshape(-1, 1)


def chain_by_hand(x, y, theta=CHAIN_THETA):
    """Every quantity of one example of the chain, by the names of the formulas."""
    w1, b1, w2, b2, w3, b3 = theta
    _, slope = FUNCTIONS["sigmoid"]
    z1 = w1 * x + b1
    a1 = sigmoid(z1)
    z2 = w2 * a1 + b2
    a2 = sigmoid(z2)
    z3 = w3 * a2 + b3
    a3 = sigmoid(z3)

    da3 = 2 * (a3 - y)
    dw3 = a2 * slope(z3) * 2 * (a3 - y)
    db3 = slope(z3) * 2 * (a3 - y)
    da2 = w3 * slope(z3) * 2 * (a3 - y)
    dw2 = a1 * slope(z2) * da2
    db2 = slope(z2) * da2
    da1 = w2 * slope(z2) * da2
    dw1 = x * slope(z1) * da1
    db1 = slope(z1) * da1
    return {
        "cost": (a3 - y) ** 2,
        "z": (z1, z2, z3),
        "a": (x, a1, a2, a3),
        "gradient": (dw1, db1, dw2, db2, dw3, db3),
        "da": (da1, da2, da3),
        "dz": (db1, db2, db3),
    }


def test_chain_has_three_weights_and_three_biases():
    model = chain_model()
    assert model.network.n_parameters == 6
    np.testing.assert_array_equal(model.parameters, CHAIN_THETA)
    assert [w.item() for w in model.weights] == [W1, W2, W3]
    assert [b.item() for b in model.biases] == [B1, B2, B3]


@pytest.mark.parametrize(("x", "y"), CHAIN)
def test_chain_forward(x, y):
    found, hand = chain_model().forward([[x]]), chain_by_hand(x, y)
    np.testing.assert_allclose([z.item() for z in found.z], hand["z"], **EXACT)
    np.testing.assert_allclose([a.item() for a in found.a], hand["a"], **EXACT)


@pytest.mark.parametrize(("x", "y"), CHAIN)
def test_chain_gradient_of_one_example(x, y):
    """∂C/∂w(L) = a(L−1) σ'(z(L)) 2(a(L) − y), ∂C/∂b(L) = σ'(z(L)) 2(a(L) − y), and so on down."""
    cost, gradient = chain_model().value_and_gradient([[x]], [[y]])
    hand = chain_by_hand(x, y)
    np.testing.assert_allclose(cost, hand["cost"], **EXACT)
    np.testing.assert_allclose(gradient, hand["gradient"], **EXACT)


@pytest.mark.parametrize(("x", "y"), CHAIN)
def test_chain_derivatives_by_the_activations(x, y):
    """∂C/∂a(L−1) = w(L) σ'(z(L)) 2(a(L) − y), and the same one layer further down."""
    found, hand = chain_model().backward([[x]], [[y]]), chain_by_hand(x, y)
    np.testing.assert_allclose([da.item() for da in found.da], hand["da"], **EXACT)
    np.testing.assert_allclose([dz.item() for dz in found.dz], hand["dz"], **EXACT)


def test_chain_averages_over_the_examples():
    """∂C/∂w = 1/n Σ ∂C_k/∂w, and likewise the cost; backward shows each example's share of the average."""
    model, X, y = chain_model(), column(CHAIN_X), column(CHAIN_Y)
    hands = [chain_by_hand(*example) for example in CHAIN]
    cost, gradient = model.value_and_gradient(X, y)
    np.testing.assert_allclose(cost, sum(hand["cost"] for hand in hands) / 4, **EXACT)
    for i in range(6):
        np.testing.assert_allclose(gradient[i], sum(hand["gradient"][i] for hand in hands) / 4, **EXACT)
    found = model.backward(X, y)
    for layer in range(3):
        for n in range(4):
            np.testing.assert_allclose(found.da[layer][n, 0], hands[n]["da"][layer] / 4, **EXACT)
            np.testing.assert_allclose(found.dz[layer][n, 0], hands[n]["dz"][layer] / 4, **EXACT)


@pytest.mark.parametrize("i", range(6))
def test_a_tiny_nudge_of_a_parameter_moves_the_cost_by_its_derivative(i):
    """ΔC/Δw tends to ∂C/∂w: to one side within the size of the nudge, to both sides within its square."""
    model, X, y = chain_model(), column(CHAIN_X), column(CHAIN_Y)
    cost, gradient = model.value_and_gradient(X, y)

    def cost_with(nudge):
        theta = np.array(CHAIN_THETA)
        theta[i] += nudge
        return model.value_and_gradient(X, y, theta=theta)[0]

    for nudge in (1e-4, 1e-5, 1e-6):
        ratio = (cost_with(nudge) - cost) / nudge
        np.testing.assert_allclose(ratio, gradient[i], rtol=0, atol=nudge)
    both_sides = (cost_with(1e-5) - cost_with(-1e-5)) / 2e-5
    np.testing.assert_allclose(both_sides, gradient[i], rtol=1e-7, atol=1e-10)


def test_chain_takes_one_step_of_gradient_descent():
    """θ <- θ − η ∇C, with the average over all examples as the gradient."""
    model = chain_model()
    model.fit(column(CHAIN_X), column(CHAIN_Y), epochs=1, batch_size=4, optimizer=SGD(0.5), shuffle=False)
    hands = [chain_by_hand(*example) for example in CHAIN]
    for i in range(6):
        average = sum(hand["gradient"][i] for hand in hands) / 4
        np.testing.assert_allclose(model.parameters[i], CHAIN_THETA[i] - 0.5 * average, **EXACT)


def test_chain_passes_the_gradient_check():
    check = chain_model().check_gradient(column(CHAIN_X), column(CHAIN_Y))
    assert check.passed
    hands = [chain_by_hand(*example) for example in CHAIN]
    for i in range(6):
        average = sum(hand["gradient"][i] for hand in hands) / 4
        np.testing.assert_allclose(check.analytic[i], average, **EXACT)
        np.testing.assert_allclose(check.numeric[i], average, rtol=1e-6, atol=1e-10)


# 2. Several neurons per layer: 3-4-3-2, cost Σ_j (a_j − y_j)², averaged over examples.

SIZES = (3, 4, 3, 2)
SEVERAL = pytest.mark.parametrize("name", FUNCTIONS)


def several():
    """(weights, biases, X, y): small numbers, every relu at least 0.01 from its kink, some on, some off."""
    w = [
        [[0.5, -1.0, 0.25], [1.5, 0.5, -0.75], [-0.5, 0.75, 1.0], [0.25, -0.25, -1.25]],
        [[1.0, 0.5, -0.5, 0.75], [-0.75, 1.25, 0.5, -1.0], [0.5, -1.5, 1.0, 0.25]],
        [[0.75, -0.5, 1.0], [-1.25, 0.5, 0.25]],
    ]
    b = [[0.1, -0.2, 0.3, 0.15], [0.2, -0.1, 0.4], [0.6, 0.7]]
    X = [[0.4, -0.6, 0.9], [-1.0, 0.3, 0.5], [0.8, 0.7, -0.2], [0.1, -0.9, -0.8], [-0.3, 0.2, -0.7]]
    y = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.4], [0.7, 0.6], [0.3, 1.0]]
    return w, b, X, y


def several_model(name):
    w, b, _, _ = several()
    return Model(
        SIZES,
        hidden=name,
        output=name,
        loss="squared_error",
        dtype="float64",
        initial=list(zip(w, b, strict=True)),
    )


def several_by_hand(name, x, y):
    """(cost, z, a, dw, db, dz, da) of one example, each sum a loop over its index; lists by layer."""
    w, b, _, _ = several()
    f, slope = FUNCTIONS[name]
    z, a = [], [x]
    for layer in range(3):
        z.append([])
        for j in range(SIZES[layer + 1]):
            z[layer].append(sum(w[layer][j][k] * a[layer][k] for k in range(SIZES[layer])) + b[layer][j])
        a.append([f(z_j) for z_j in z[layer]])
    cost = sum((a[3][j] - y[j]) ** 2 for j in range(2))

    da = [None, None, [2 * (a[3][j] - y[j]) for j in range(2)]]
    for layer in (2, 1):  # ∂C/∂a_k = Σ_j w_jk σ'(z_j) ∂C/∂a_j
        da[layer - 1] = []
        for k in range(SIZES[layer]):
            terms = [w[layer][j][k] * slope(z[layer][j]) * da[layer][j] for j in range(SIZES[layer + 1])]
            da[layer - 1].append(sum(terms))
    dz = [[slope(z[layer][j]) * da[layer][j] for j in range(SIZES[layer + 1])] for layer in range(3)]
    dw, db = [], []
    for layer in range(3):  # ∂C/∂w_jk = a_k σ'(z_j) ∂C/∂a_j and ∂C/∂b_j = σ'(z_j) ∂C/∂a_j
        rows = range(SIZES[layer + 1])
        dw.append([[a[layer][k] * dz[layer][j] for k in range(SIZES[layer])] for j in rows])
        db.append(list(dz[layer]))
    return cost, z, a, dw, db, dz, da


@SEVERAL
def test_several_neurons_forward(name):
    _, _, X, y = several()
    found = several_model(name).forward(X)
    for n in range(5):
        _, z, a, *_ = several_by_hand(name, X[n], y[n])
        for layer in range(3):
            for j in range(SIZES[layer + 1]):
                np.testing.assert_allclose(found.z[layer][n, j], z[layer][j], **EXACT)
                np.testing.assert_allclose(found.a[layer + 1][n, j], a[layer + 1][j], **EXACT)
                if name == "relu":
                    assert abs(z[layer][j]) > 0.01


@SEVERAL
def test_several_neurons_derivatives_by_every_activation(name):
    """∂C/∂a_k = Σ_j w_jk σ'(z_j) ∂C/∂a_j, with the average's 1/n in the cost."""
    _, _, X, y = several()
    found = several_model(name).backward(X, y)
    for n in range(5):
        *_, dz, da = several_by_hand(name, X[n], y[n])
        for layer in range(3):
            for j in range(SIZES[layer + 1]):
                np.testing.assert_allclose(found.da[layer][n, j], da[layer][j] / 5, **EXACT)
                np.testing.assert_allclose(found.dz[layer][n, j], dz[layer][j] / 5, **EXACT)


@SEVERAL
def test_several_neurons_every_weight_and_bias(name):
    """∂C/∂w_jk = 1/n Σ a_k σ'(z_j) ∂C/∂a_j, each where the order w(1), b(1), … puts it."""
    _, _, X, y = several()
    cost, gradient = several_model(name).value_and_gradient(X, y)
    hands = [several_by_hand(name, X[n], y[n]) for n in range(5)]
    np.testing.assert_allclose(cost, sum(hand[0] for hand in hands) / 5, **EXACT)
    start = 0
    for layer in range(3):
        n_in, n_out = SIZES[layer], SIZES[layer + 1]
        for j in range(n_out):
            for k in range(n_in):
                dw_jk = sum(hand[3][layer][j][k] for hand in hands) / 5
                np.testing.assert_allclose(gradient[start + k * n_out + j], dw_jk, **EXACT)
        start += n_in * n_out
        for j in range(n_out):
            db_j = sum(hand[4][layer][j] for hand in hands) / 5
            np.testing.assert_allclose(gradient[start + j], db_j, **EXACT)
        assert np.any(gradient[start - n_in * n_out : start])
        assert np.any(gradient[start : start + n_out])
        start += n_out
    assert gradient.shape == (start,)


@SEVERAL
def test_several_neurons_gradient_views_and_step(name):
    """Views of the flat gradient are ∂C/∂w_jk of shape (n_out, n_in); a step of descent subtracts η of it."""
    w, b, X, y = several()
    model = several_model(name)
    _, gradient = model.value_and_gradient(X, y)
    hands = [several_by_hand(name, X[n], y[n]) for n in range(5)]
    model.fit(X, y, epochs=1, batch_size=5, optimizer=SGD(0.1), shuffle=False)
    for layer in range(3):
        dw, db = model.network.weights(gradient)[layer], model.network.biases(gradient)[layer]
        assert dw.shape == (SIZES[layer + 1], SIZES[layer])
        for j in range(SIZES[layer + 1]):
            for k in range(SIZES[layer]):
                dw_jk = sum(hand[3][layer][j][k] for hand in hands) / 5
                np.testing.assert_allclose(dw[j, k], dw_jk, **EXACT)
                np.testing.assert_allclose(model.weights[layer][j, k], w[layer][j][k] - 0.1 * dw_jk, **EXACT)
            db_j = sum(hand[4][layer][j] for hand in hands) / 5
            np.testing.assert_allclose(db[j], db_j, **EXACT)
            np.testing.assert_allclose(model.biases[layer][j], b[layer][j] - 0.1 * db_j, **EXACT)


@SEVERAL
def test_several_neurons_pass_the_gradient_check(name):
    _, _, X, y = several()
    assert several_model(name).check_gradient(X, y).passed


# 3. A test score from the hours slept and studied: 2-3-1 without biases, J = ½ Σ (y − ŷ)² over the examples.

HOURS, SCORES = [[3, 5], [5, 1], [10, 2]], [75, 82, 93]
X_SCALED = [[3 / 10, 5 / 5], [5 / 10, 1 / 5], [10 / 10, 2 / 5]]
Y_SCALED = [75 / 100, 82 / 100, 93 / 100]
V1 = [[0.8, -0.6, 0.3], [-1.1, 0.4, 1.7]]  # W(1), inputs by rows: V1[k][j]
V2 = [0.5, -1.3, 0.9]  # W(2), one column


def score_data():
    X, y = np.array(HOURS, dtype=np.float64), np.array(SCORES, dtype=np.float64).reshape(3, 1)
    return X / X.max(axis=0), y / 100


def score_model():
    return Model(
        (2, 3, 1),
        hidden="sigmoid",
        output="sigmoid",
        loss="half_squared_error",
        bias=False,
        reduction="sum",
        dtype="float64",
        initial=[np.array(V1).T, np.array([V2])],
    )


def score_by_hand():
    """(J, ŷ, delta(3), delta(2), ∂J/∂W(1), ∂J/∂W(2)), each by its index: [n], [n][j], [k][j], [j]."""
    _, slope = FUNCTIONS["sigmoid"]
    z2 = [[sum(X_SCALED[n][k] * V1[k][j] for k in range(2)) for j in range(3)] for n in range(3)]
    a2 = [[sigmoid(z2[n][j]) for j in range(3)] for n in range(3)]
    z3 = [sum(a2[n][j] * V2[j] for j in range(3)) for n in range(3)]
    guess = [sigmoid(z3[n]) for n in range(3)]
    cost = 0.5 * sum((Y_SCALED[n] - guess[n]) ** 2 for n in range(3))
    delta3 = [-(Y_SCALED[n] - guess[n]) * slope(z3[n]) for n in range(3)]
    delta2 = [[delta3[n] * V2[j] * slope(z2[n][j]) for j in range(3)] for n in range(3)]
    dv1 = [[sum(X_SCALED[n][k] * delta2[n][j] for n in range(3)) for j in range(3)] for k in range(2)]
    dv2 = [sum(a2[n][j] * delta3[n] for n in range(3)) for j in range(3)]
    return cost, guess, delta3, delta2, dv1, dv2


def test_score_network_predicts():
    X, y = score_data()
    np.testing.assert_array_equal(X, X_SCALED)
    cost, guess, *_ = score_by_hand()
    model = score_model()
    assert model.network.n_parameters == 9
    assert model.biases == ()
    np.testing.assert_allclose(model.predict(X)[:, 0], guess, **EXACT)
    np.testing.assert_allclose(model.value_and_gradient(X, y)[0], cost, **EXACT)
    np.testing.assert_allclose(model.evaluate(X, y)["cost"], cost, **EXACT)


def test_score_network_deltas():
    """delta(3) = −(y − ŷ) σ'(z(3)) and delta(2) = delta(3) W(2)ᵀ σ'(z(2)): what backward calls dz."""
    _, _, delta3, delta2, _, _ = score_by_hand()
    dz2, dz3 = score_model().backward(*score_data()).dz
    assert dz2.shape == (3, 3)
    assert dz3.shape == (3, 1)
    for n in range(3):
        np.testing.assert_allclose(dz3[n, 0], delta3[n], **EXACT)
        for j in range(3):
            np.testing.assert_allclose(dz2[n, j], delta2[n][j], **EXACT)


def test_score_network_gradient_in_the_shapes_of_its_weights():
    """∂J/∂W(1) is 2 x 3 and ∂J/∂W(2) is 3 x 1, inputs by rows, as theta stores them; the views are w_jk."""
    *_, dv1, dv2 = score_by_hand()
    model = score_model()
    _, gradient = model.value_and_gradient(*score_data())
    by_input1, by_input2 = gradient[:6].reshape(2, 3), gradient[6:].reshape(3, 1)
    dw1, dw2 = model.network.weights(gradient)
    assert dw1.shape == (3, 2)
    assert dw2.shape == (1, 3)
    for j in range(3):
        for k in range(2):
            np.testing.assert_allclose(by_input1[k, j], dv1[k][j], **EXACT)
            np.testing.assert_allclose(dw1[j, k], dv1[k][j], **EXACT)
        np.testing.assert_allclose(by_input2[j, 0], dv2[j], **EXACT)
        np.testing.assert_allclose(dw2[0, j], dv2[j], **EXACT)


def test_score_network_descends_at_every_step():
    """W <- W − η ∂J/∂W with a small rate lowers J each time, in single fits and in one long one."""
    X, y = score_data()
    *_, dv1, dv2 = score_by_hand()
    model = score_model()
    costs = [model.value_and_gradient(X, y)[0]]
    for _ in range(100):
        model.fit(X, y, epochs=1, batch_size=3, optimizer=SGD(0.1), shuffle=False)
        costs.append(model.value_and_gradient(X, y)[0])
        if len(costs) == 2:
            np.testing.assert_allclose(model.weights[0], np.transpose(V1 - 0.1 * np.array(dv1)), **EXACT)
            np.testing.assert_allclose(model.weights[1][0], V2 - 0.1 * np.array(dv2), **EXACT)
    assert np.all(np.diff(costs) < 0)

    whole = score_model()
    history = whole.fit(X, y, epochs=100, batch_size=3, optimizer=SGD(0.1), shuffle=False)
    assert len(history) == 100
    assert np.all(np.diff(history.cost) < 0)
    np.testing.assert_allclose(whole.parameters, model.parameters, **EXACT)


def test_score_network_passes_the_numerical_gradient_check():
    """|numeric − analytic| / |numeric + analytic| < 1e-8 as in the textbook, and the library agrees."""
    X, y = score_data()
    model = score_model()
    check = model.check_gradient(X, y)
    assert check.passed
    _, gradient = model.value_and_gradient(X, y)
    np.testing.assert_allclose(check.analytic, gradient, **EXACT)
    distance = np.linalg.norm(check.numeric - gradient) / np.linalg.norm(check.numeric + gradient)
    assert distance < 1e-8
