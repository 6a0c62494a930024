"""Every loss: the twin's with every output, right up to |z| = 10,000, at its minimum where it should be; smoothing."""

import copy
import pickle
from functools import cache

import mpmath as mp
import numpy as np
import pytest
import twin
from against_twin import model_with

from fastbp import SGD, Activation, Huber, Loss, Model, Quantile
from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.formulas.losses import LOSSES
from fastbp.core.layers.activation_kernels import OUTPUT_ONLY
from fastbp.data import load_digits
from fastbp.losses import FITTING

DTYPES = {"float32": np.float32, "float64": np.float64}
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
# these are in core/test_gradient_and_update.py
BASIC = ("squared_error", "half_squared_error", "cross_entropy", "binary_cross_entropy")
PARAMETRIC = {"huber(0.3)": Huber(0.3), "quantile(0.8)": Quantile(0.8)}
OTHERS = [name for name in twin.LOSSES if name not in (*BASIC, "huber", "quantile")]
OUTPUTS = ["identity", "sigmoid", "tanh", "relu", "exponential", "softmax"]


def model_of(net, theta, dtype="float64", **more):
    loss = PARAMETRIC.get(net.loss, net.loss)
    return model_with(
        net.output, net.sizes, net.hidden, loss=loss, bias=net.bias, dtype=dtype, initial=theta.astype(dtype), **more
    )


def off(found, expected):
    """The largest difference, relative to the largest number."""
    return np.abs(found - expected).max() / np.abs(expected).max()


# With every output ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", OTHERS)
def test_cost_and_gradient_are_the_twins_and_the_signed_slope_with_every_output(loss, dtype):
    for output in OUTPUTS:
        net = twin.Net((3, 4, 4), "tanh", output, loss)
        theta, X, y = twin.problem(net, rows=6)
        model, weight = model_of(net, theta, dtype), np.array([1.0, 0.5, 0.0, 2.0, 0.25, 1.0])
        expected_cost, expected = twin.value_and_gradient(net, theta, X, y, weight)
        cost, gradient = model.value_and_gradient(X, y, weight)
        assert np.any(gradient)
        assert abs(cost - expected_cost) <= TOLERANCE[dtype] * max(1, abs(expected_cost)), net
        assert off(gradient, expected) <= TOLERANCE[dtype], net
        assert model.evaluate(X, y, weight)["cost"] == pytest.approx(cost, rel=1e-6)
        for found, wanted in zip(
            model.backward(X, y, weight).dz, twin.backward(net, theta, X, y, weight)[0], strict=True
        ):
            assert off(found, wanted) <= TOLERANCE[dtype], net
        if dtype == "float64":
            assert model.check_gradient(X, y, weight).passed, net


def test_wide_outputs_and_many_rows_are_the_twins():
    for loss, output, width in [
        ("gaussian_nll", "identity", 70),
        ("kullback_leibler", "softmax", 33),
        ("huber", "identity", 41),
    ]:
        net = twin.Net((3, width), output=output, loss=loss)
        theta, X, y = twin.problem(net, rows=70)
        cost, gradient = model_of(net, theta).value_and_gradient(X, y)
        expected_cost, expected = twin.value_and_gradient(net, theta, X, y)
        assert cost == pytest.approx(expected_cost, rel=1e-12)
        assert off(gradient, expected) <= 1e-10


@pytest.mark.parametrize(("output", "loss"), [pair for pair in twin.FUSED if pair[0] in OUTPUTS])
def test_a_loss_with_its_own_output_agrees_with_the_chain_rule_of_the_two(output, loss):
    net = twin.Net((3, 4), output=output, loss=loss)
    theta, X, y = twin.problem(net, rows=7)
    model = model_of(net, theta)
    fused = model.value_and_gradient(X, y)[1]
    dz = model.backward(X, y).dz[0]  # by the chain rule, step by step
    assert off(fused, np.concatenate([(dz.T @ X).T.ravel(), dz.sum(axis=0)])) <= 1e-13


# Far out -------------------------------------------------------------------------------------------------------------

FAR = [-1e4, -300.0, -20.0, -0.7, -1e-3, 0.0, 1e-3, 1.1, 20.0, 300.0, 1e4]
FEW = [-1e4, -20.0, 0.0, 1e-3, 300.0, 1e4]
PAIRS = [(a, b) for a in FEW for b in FEW]


def log_of(y, a):
    return y * mp.log(a) if y else 0


def soft(z):
    return [mp.exp(x) / mp.fsum(map(mp.exp, z)) for x in z]


def bernoulli(z, y):
    return -log_of(y, 1 / (1 + mp.exp(-z))) - log_of(1 - y, 1 / (1 + mp.exp(z)))


def textbook(loss):
    """(z's of one example, the rows of targets, C(z, y)) of the loss with its own output, else with identity."""
    single = {
        "squared_error": lambda e: e**2,
        "half_squared_error": lambda e: e**2 / 2,
        "absolute_error": abs,
        "huber(0.3)": lambda e: e**2 / 2 if abs(e) <= mp.mpf(0.3) else mp.mpf(0.3) * (abs(e) - mp.mpf(0.3) / 2),
        "quantile(0.8)": lambda e: mp.mpf(0.8) * -e if e < 0 else (1 - mp.mpf(0.8)) * e,
        "log_cosh": lambda e: mp.log(mp.cosh(e)),
    }
    if loss in single:
        return [(z,) for z in FAR], [(-2.5,), (0.25,)], lambda z, y: single[loss](z[0] - y[0])
    return {
        "hinge": ([(z,) for z in FAR], [(-1.0,), (1.0,)], lambda z, y: max(0, 1 - y[0] * z[0])),
        "binary_cross_entropy": (
            [(z,) for z in FAR], [(0.0,), (0.25,), (1.0,)], lambda z, y: bernoulli(z[0], y[0]),
        ),
        "cross_entropy": (
            PAIRS, [(0.25, 0.75), (1.0, 0.0)], lambda z, y: -mp.fsum(map(log_of, y, soft(z))),
        ),
        "kullback_leibler": (
            PAIRS, [(0.25, 0.75), (1.0, 0.0)],
            lambda z, y: mp.fsum(log_of(p, p / a) for p, a in zip(y, soft(z), strict=True)),
        ),
        "poisson": ([(z,) for z in FAR], [(0.0,), (3.0,)], lambda z, y: mp.exp(z[0]) - log_of(y[0], mp.exp(z[0]))),
        "gaussian_nll": (
            [(m, s) for m in (-1e4, 0.25, 0.75, 1e4) for s in FAR], [(0.25,)],
            lambda z, y: (z[1] + (y[0] - z[0]) ** 2 * mp.exp(-z[1])) / 2,
        ),
    }[loss]  # fmt: skip


@cache
def exact(loss, dtype):
    """[(z, y, C, ∂C/∂z)] from the textbook's formula in 60 digits; the slopes are central differences in them."""
    zs, ys, C = textbook(loss)
    rows = []
    with mp.workdps(60):
        h = mp.mpf(2) ** -64
        for z in (tuple(float(DTYPES[dtype](x)) for x in z) for z in zs):
            for y in ys:
                at = [mp.mpf(x) for x in z]
                slopes = []
                for i in range(len(z)):
                    up, down = ([*at[:i], at[i] + step, *at[i + 1 :]] for step in (h, -h))
                    slopes.append(rounded((C(up, y) - C(down, y)) / (2 * h), dtype))
                rows.append((z, y, rounded(C(at, y), dtype), slopes))
    return rows


def rounded(x, dtype):
    """As a number of the dtype, infinite beyond its range."""
    if abs(x) > float(np.finfo(dtype).max):
        return np.inf if x > 0 else -np.inf
    return float(DTYPES[dtype](float(x)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [*BASIC, *OTHERS])
def test_cost_and_gradient_are_right_as_far_out_as_ten_thousand(loss, dtype):
    eps, output = np.finfo(dtype).eps, twin_output(loss)
    for z, y, cost, slopes in exact(loss, dtype):
        n = len(z)
        net = twin.Net((n, n), output=output, loss=loss)
        model = model_of(net, np.concatenate([np.eye(n).ravel(), np.zeros(n)]), dtype)
        found, gradient = model.value_and_gradient([z], [y])
        np.testing.assert_allclose(found, cost, rtol=8 * eps, atol=4 * eps, err_msg=f"cost of z = {z}, y = {y}")
        np.testing.assert_allclose(
            gradient[-n:], slopes, rtol=8 * eps, atol=4 * eps, err_msg=f"∂C/∂z of z = {z}, y = {y}"
        )


def twin_output(loss):
    return {loss: output for output, loss in twin.FUSED}.get(loss, "identity")


def test_the_derivative_at_a_kink_is_zero():
    for loss, y in [("absolute_error", 2.0), ("quantile", 2.0), (Quantile(0.8), 2.0), ("hinge", 1.0)]:
        cost, gradient = Model((1, 1), loss=loss).value_and_gradient([[1.0]], [[y]], theta=[y / 2, y / 2])
        assert cost == 0
        assert gradient.tolist() == [0, 0]


# What they are for ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "best"),
    [
        ("squared_error", np.mean),
        ("poisson", np.mean),
        ("absolute_error", np.median),
        (Quantile(0.8), lambda y: np.quantile(y, 0.8)),
        ("quantile", np.median),
    ],
)
def test_the_best_constant_is_the_statistic_that_the_loss_is_for(loss, best):
    y = np.random.default_rng(0).gamma(2, size=101)
    model = Model((1, 1), loss=loss, dtype="float64")
    assert best(y) - 0.01 < best(y) < best(y) + 0.01
    z = np.log if loss == "poisson" else np.asarray  # of the output that is near the best
    below, above = (
        model.value_and_gradient(np.zeros((101, 1)), y, theta=[0, z(best(y) + d)])[1] for d in (-0.01, 0.01)
    )
    assert below[1] < 0 < above[1]


def test_gaussian_nll_is_least_at_the_mean_and_the_logarithm_of_the_variance():
    y = np.random.default_rng(0).normal(3, 2, 100)
    model = Model((1, 2), loss="gaussian_nll", dtype="float64")
    cost, gradient = model.value_and_gradient(np.zeros((100, 1)), y, theta=[0, 0, y.mean(), np.log(y.var())])
    np.testing.assert_allclose(gradient, 0, atol=1e-14)
    assert cost == pytest.approx((1 + np.log(y.var())) / 2)


def test_kullback_leibler_is_zero_where_the_outputs_are_the_targets():
    y = np.random.default_rng(0).dirichlet(np.ones(5), 1)
    model = Model((1, 5), output="softmax", loss="kullback_leibler", dtype="float64")
    cost, gradient = model.value_and_gradient([[0.0]], y, theta=np.concatenate([np.zeros(5), np.log(y[0])]))
    assert cost == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)


# Outputs that can feed them ------------------------------------------------------------------------------------------

EVERY_OUTPUT = (*ACTIVATIONS, *OUTPUT_ONLY)


def values_of(output):
    """What the output is for z from -20 to 20, in float64."""
    width = 2 if output == "softmax" else 1
    model = model_with(output, (1, width), bias=False, dtype="float64", initial=[[[1.0], [0.0]][:width]])
    return model.predict(np.linspace(-20, 20, 401)[:, None])


def lie_in(interval, values):
    low, high = (float(end.replace("∞", "inf")) for end in interval[1:-1].split(", "))
    return (values > low).all() and ((values <= high) if interval.endswith("]") else (values < high)).all()


@pytest.mark.parametrize("loss", FITTING)
def test_an_output_fits_a_loss_with_a_logarithm_if_its_values_lie_where_that_has_one(loss):
    interval, fitting = FITTING[loss]
    assert fitting[0] == LOSSES[loss].own_output
    assert set(fitting) == {output for output in EVERY_OUTPUT if lie_in(interval, values_of(output))}


def test_the_losses_whose_cost_is_not_finite_somewhere_are_those_of_the_table():
    """By the formulas: of a from -1.5 to 1.5, with targets that the loss takes."""
    X = np.linspace(-1.5, 1.5, 13)[:, None]
    for loss in LOSSES:
        width = 2 if loss in ("gaussian_nll", "cross_entropy", "kullback_leibler") else 1
        model = model_with("identity", (1, width), loss=loss, bias=False, dtype="float64", initial=np.ones(width))
        y = np.full((13, 1 if loss == "gaussian_nll" else width), 1.0 / width if width == 2 else 1.0)
        finite = all(np.isfinite(model.evaluate(X[n : n + 1], y[n : n + 1])["cost"]) for n in range(13))
        assert finite == (loss not in FITTING)


@pytest.mark.parametrize("loss", FITTING)
def test_an_output_that_cannot_feed_a_loss_is_refused_with_one_that_can(loss):
    interval, fitting = FITTING[loss]
    for output in EVERY_OUTPUT:
        if output in fitting:
            assert Model((3, 8, 2), output=output, loss=loss).network.output == output
            continue
        with pytest.raises(ValueError) as caught:
            Model((3, 8, 2), output=output, loss=loss)
        assert str(caught.value) == (
            f"loss {loss!r} needs an output with values in {interval}, such as {fitting[0]!r}, got output {output!r}"
        )


def test_without_an_output_a_model_has_the_one_of_its_loss():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    for loss, row in LOSSES.items():
        model = Model((3, 8, 2), loss=loss)
        assert model.network.output == (row.own_output or "identity")
        y = np.abs(np.sign(X[:, :1] * np.ones(2)))
        y = np.eye(2)[(X[:, 0] > 0).astype(int)] if row.own_output == "softmax" else y[:, : 2 // row.outputs]
        history = model.fit(X, y, epochs=20)
        assert history.cost[-1] < history.cost[0]
    assert Model((3, 2)).network.output == Model((3, 2), loss=Huber(0.1)).network.output == "identity"
    assert Model((3, 8, 2), loss="cross_entropy").fit(X, (X[:, 0] > 0).astype(int)).cost[-1] < np.log(2)


def test_an_activation_of_ones_own_is_trusted_to_fit():
    square = Activation(lambda z: 0.1 + z * z, lambda z: 2 * z, name="square")
    model = Model((3, 2), output=square, loss="poisson", dtype="float64")
    assert model.check_gradient(np.ones((4, 3)), np.ones((4, 2))).passed


@pytest.mark.parametrize("output", ["relu", "identity"])
def test_a_file_from_before_may_have_a_pair_that_is_refused_now(output, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.uniform(0.5, 1, (6, 2)), rng.uniform(0.5, 1, (6, 2))
    old = model_with(output, (2, 2), loss="poisson", bias=False, initial=[[[1.0, 0.5], [0.5, 1.0]]])
    old.save(tmp_path / "model")
    for model in (Model.load(tmp_path / "model"), pickle.loads(pickle.dumps(old)), copy.deepcopy(old)):
        assert (model.network, model.loss) == (old.network, "poisson")
        np.testing.assert_array_equal(model.predict(X), old.predict(X))
        assert model.check_gradient(X, y).passed
        assert np.isfinite(model.fit(X, y, epochs=2).cost).all()
        model.save(tmp_path / "again")
        assert Model.load(tmp_path / "again").network.output == output


# Signed weights ------------------------------------------------------------------------------------------------------

SIGNED = [
    *((loss, None, width) for loss in LOSSES for width in (2, 4, 20, 70)),
    *((loss, "sigmoid", 6) for loss in ("cross_entropy", "kullback_leibler", "poisson", "squared_error")),
    *((loss, "softmax", 6) for loss in ("binary_cross_entropy", "huber", "gaussian_nll")),
    (Loss(lambda a, y: (a - y) ** 4, lambda a, y: 4 * (a - y) ** 3, name="fourth"), None, 3),
]


@pytest.mark.parametrize(("loss", "output", "width"), SIGNED, ids=lambda value: getattr(value, "name", str(value)))
def test_cost_and_gradient_are_linear_in_weights_of_both_signs(loss, output, width):
    rng = np.random.default_rng(2)
    for rows in (1, 3, 50):
        X, weight = rng.normal(size=(rows, 3)), rng.normal(size=rows)
        weight[rows // 2] = -abs(weight[rows // 2])
        targets = [targets_for(loss, rows, width, rng)]
        targets += [rng.integers(0, width, rows)] if loss == "cross_entropy" else []
        for y in targets:
            for dtype, tolerance in TOLERANCE.items():
                model = Model((3, 5, width), "tanh", output, loss, dtype=dtype, seed=3, reduction="sum", l2=0.0)
                cost, gradient = model.value_and_gradient(X, y, weight)
                positive, negative = (
                    model.value_and_gradient(X, y, part) if part.any() else (0.0, np.zeros_like(gradient))
                    for part in (np.maximum(weight, 0), np.maximum(-weight, 0))
                )
                scale = abs(positive[0]) + abs(negative[0])
                assert cost == pytest.approx(positive[0] - negative[0], abs=tolerance * scale)
                np.testing.assert_allclose(
                    gradient, positive[1] - negative[1], rtol=0, atol=tolerance * np.abs(gradient).max()
                )
                if dtype == "float64" and width < 20:
                    assert model.check_gradient(X, y, weight).passed
                dz = model.backward(X, y, weight).dz[-1]
                assert off(dz.sum(axis=0), model.network.biases(gradient)[-1]) <= tolerance


def targets_for(loss, rows, width, rng):
    if loss in ("cross_entropy", "kullback_leibler"):
        return rng.dirichlet(np.ones(width), rows)
    if loss == "hinge":
        return rng.choice([-1.0, 1.0], (rows, width))
    return rng.uniform(0.1, 0.9, (rows, width // 2 if loss == "gaussian_nll" else width))


def test_signed_weights_of_a_batch_in_shards_and_a_wide_first_layer():
    rng = np.random.default_rng(4)
    for sizes, rows in (((6, 40, 4), 1400), ((1100, 64, 4), 20)):
        X, y, weight = rng.normal(size=(rows, sizes[0])), rng.integers(0, 4, rows), rng.normal(size=rows)
        model = Model(sizes, "tanh", "softmax", dtype="float64", reduction="sum")
        found = model.value_and_gradient(X, y, weight)
        parts = [model.value_and_gradient(X, y, np.maximum(sign * weight, 0)) for sign in (1, -1)]
        assert found[0] == pytest.approx(parts[0][0] - parts[1][0], rel=1e-10)
        assert off(found[1], parts[0][1] - parts[1][1]) <= 1e-10


# Several labels at once, and signs -----------------------------------------------------------------------------------


def test_many_labels_at_once_are_learned_and_right_only_if_all_are():
    """The binary digits of a handwritten digit."""
    X, digit = load_digits()
    X, y = X / 16, (digit[:, None] >> np.arange(4)) & 1
    model = Model((64, 32, 4), output="sigmoid")
    assert model.loss == "binary_cross_entropy"
    model.fit(X[:1400], y[:1400], epochs=30)
    right = (model.predict(X[1400:]) >= 0.5) == y[1400:]
    assert model.evaluate(X[1400:], y[1400:])["accuracy"] == pytest.approx(right.all(axis=1).mean())
    assert right.all(axis=1).mean() > 0.7
    assert right.mean() > right.all(axis=1).mean()


def test_hinge_counts_the_signs_that_are_right():
    X, digit = load_digits()
    X, y = X / 16, np.where(digit < 5, 1, -1)
    model = Model((64, 32, 1), loss="hinge")
    model.fit(X[:1400], y[:1400], epochs=20)
    accuracy = model.evaluate(X[1400:], y[1400:])["accuracy"]
    assert accuracy == pytest.approx(np.mean(np.sign(model.predict(X[1400:])[:, 0]) == y[1400:]))
    assert accuracy > 0.9


# Label smoothing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("output", "loss", "classes"),
    [
        ("softmax", "cross_entropy", True),
        ("softmax", "cross_entropy", False),
        ("sigmoid", "cross_entropy", True),
        ("sigmoid", "binary_cross_entropy", False),
    ],
)
def test_label_smoothing_trains_on_smoothed_targets_and_evaluates_on_true_ones(output, loss, classes, dtype):
    net = twin.Net((4, 5, 3), "tanh", output, loss)
    theta, X, y = twin.problem(net, rows=12, classes=classes)
    rows = np.eye(3)[y] if classes else y
    smooth = 0.8 * rows + 0.2 / (3 if loss == "cross_entropy" else 2)
    model, given_y = model_of(net, theta, dtype, label_smoothing=0.2), y.copy()
    cost, gradient = model.value_and_gradient(X, y)
    expected_cost, expected = twin.value_and_gradient(net, theta, X, smooth)
    assert cost == pytest.approx(expected_cost, rel=TOLERANCE[dtype])
    assert off(gradient, expected) <= TOLERANCE[dtype]
    assert off(model.backward(X, y).dz[0], twin.backward(net, theta, X, smooth)[0][0]) <= TOLERANCE[dtype]
    assert model.check_gradient(X, y).passed
    assert model.evaluate(X, y)["cost"] == pytest.approx(twin.cost(net, theta, X, y), rel=TOLERANCE[dtype])
    thetas, costs = twin.trajectory(
        net, theta, X, smooth, lambda t, g, state: twin.sgd_step(t, g, state, 0.05), epochs=2, batch_size=5
    )
    history = model.fit(X, y, epochs=2, batch_size=5, optimizer=SGD(0.05), shuffle=False, validation_data=(X, y))
    assert off(model.parameters, thetas[-1]) <= TOLERANCE[dtype]
    assert off(history.cost, costs) <= TOLERANCE[dtype]
    assert history.validation_cost[-1] == pytest.approx(model.evaluate(X, y)["cost"])
    np.testing.assert_array_equal(y, given_y)


def test_metrics_see_the_true_classes_of_a_training_on_smoothed_ones():
    seen = []

    def note(y, outputs):
        seen.append(y.tolist())
        return 0.0

    model = Model((1, 2), output="softmax", label_smoothing=0.2)
    model.fit([[0.0], [1.0]], [0, 1], epochs=1, metrics=[note, "accuracy"])
    assert seen == [[0, 1]]


def test_label_smoothing_is_a_share_for_losses_of_classes():
    with pytest.raises(ValueError, match=r"^label_smoothing must lie in \[0, 1\), got 1$"):
        Model((2, 2), output="softmax", label_smoothing=1)
    with pytest.raises(
        ValueError, match=r"^label_smoothing is for the losses cross_entropy and binary_cross_entropy, "
    ):
        Model((2, 2), label_smoothing=0.1)
    assert Model((2, 2), label_smoothing=0).label_smoothing == 0


# Names and objects ---------------------------------------------------------------------------------------------------


def test_names_mean_the_default_parameters_and_the_model_shows_them():
    assert Model((2, 2), loss="huber").loss == Huber() == Huber(delta=1.0)
    assert Model((2, 2), loss="quantile").loss == Quantile() == Quantile(q=0.5)
    assert "loss=Huber(delta=0.3)" in repr(Model((2, 2), loss=Huber(0.3)))
    assert Model((2, 2), output="softmax").loss == "cross_entropy"
    assert Model((2, 2), output="sigmoid").loss == "binary_cross_entropy"
    assert Model((2, 2), output="exponential").loss == "poisson"
    assert Model((2, 2), output="tanh").loss == "squared_error"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Huber(0), ValueError, "delta must be finite and positive, got 0"),
        (lambda: Huber(np.inf), ValueError, "delta must be finite and positive, got inf"),
        (lambda: Huber("1"), TypeError, "delta must be a number, got '1'"),
        (lambda: Quantile(0.0), ValueError, "q must be finite and positive, got 0.0"),
        (lambda: Quantile(1), ValueError, "q must lie between 0 and 1, got 1"),
        (lambda: Model((2, 2), loss=Huber(1e-60)), ValueError, "loss must have parameters that fit in float32"),
        (lambda: Model((2, 2), loss=Huber(1e60)), ValueError, "loss must have parameters that fit in float32"),
        (lambda: Model((2, 3), loss="gaussian_nll"), ValueError, "loss 'gaussian_nll' needs an even number of outputs"),
        (lambda: Model((2, 2), loss="mse"), ValueError, "loss must be one of squared_error, half_squared_error, "),
        (lambda: Model((2, 2), loss=Huber), TypeError, "loss must be one of squared_error, "),
    ],
)
def test_wrong_losses_are_refused(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("loss", ["poisson", "gaussian_nll", Huber(0.3), Quantile(0.8)])
def test_a_model_keeps_its_loss_in_a_file_a_pickle_and_a_copy(loss, tmp_path):
    model = Model((2, 2), loss=loss, seed=3)
    model.save(tmp_path / "model")
    for other in (Model.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert other.loss == loss
        np.testing.assert_array_equal(other.parameters, model.parameters)


def test_a_model_keeps_its_label_smoothing(tmp_path):
    Model((2, 2), output="softmax", label_smoothing=0.1).save(tmp_path / "model")
    assert Model.load(tmp_path / "model").label_smoothing == 0.1


def test_models_with_different_parameters_have_kernels_of_their_own():
    X, y, theta = np.zeros((1, 1)), [[2.0]], [0.0, 0.0]
    costs = [
        Model((1, 1), loss=Huber(delta), dtype="float64").value_and_gradient(X, y, theta=theta)[0]
        for delta in (0.5, 1, 4)
    ]
    assert costs == [0.875, 1.5, 2.0]
