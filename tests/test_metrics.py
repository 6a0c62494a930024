"""Metrics are what their formulas say, on the right rows, with weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp import Model
from fastbp.metrics import as_metrics
from fastbp.network import Network

RNG = np.random.default_rng(0)
X = RNG.normal(size=(21, 5)).astype(np.float32)
REAL = RNG.normal(size=(21, 2)).astype(np.float32)
CLASSES = np.arange(21) % 2
REGRESSION = Network((5, 7, 2), "tanh")


def metric(name, network=REGRESSION, loss="squared_error", y=REAL):
    return as_metrics([name], network, loss, y)[0].value


def fitted(y, metrics, output="identity", loss=None, **options):
    y = np.asarray(y)
    model = Model((5, 7, y.shape[1] if y.ndim == 2 else 2), "tanh", output, loss)
    return model, model.fit(X, y, epochs=2, metrics=metrics, **options)


@given(st.integers(0, 1000), st.booleans())
def test_each_metric_is_its_formula_and_a_weight_of_k_is_k_examples(seed, weighted):
    rng = np.random.default_rng(seed)
    rows, outputs = rng.integers(2, 12), rng.integers(1, 4)
    y, predicted = rng.normal(size=(2, rows, outputs))
    y[:, 0] += 1
    times = rng.integers(0, 3, rows) if weighted else np.ones(rows, int)
    times[:2] = 1
    weights = times.astype(float) if weighted else None
    Y, P = np.repeat(y, times, axis=0), np.repeat(predicted, times, axis=0)
    network = Network((3, int(outputs)))
    expected = {
        "mean_absolute_error": sum(abs(Y - P).ravel()) / Y.size,
        "r2": np.mean([1 - sum((Y[:, j] - P[:, j]) ** 2) / (len(Y) * np.var(Y[:, j])) for j in range(outputs)]),
    }
    for name, value in expected.items():
        found = metric(name, network, y=y)(y, predicted, weights)
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-9)
    for output, loss, right in [
        ("softmax", "cross_entropy", Y.argmax(axis=1) == P.argmax(axis=1)),
        ("sigmoid", "binary_cross_entropy", [all((t >= 0.5) == (p >= 0.5)) for t, p in zip(Y, P, strict=True)]),
    ]:
        found = metric("accuracy", Network((3, int(outputs)), output=output), loss, y)(y, predicted, weights)
        np.testing.assert_allclose(found, np.mean(right))


def test_r2_of_constant_targets_is_1_if_they_are_met_and_else_0():
    constant = np.ones((4, 2))
    assert metric("r2")(constant, constant, None) == 1
    assert metric("r2")(constant, constant + np.array([0, 1]), None) == 0.5


def test_outputs_that_are_too_large_make_a_metric_infinite_and_no_noise():
    huge = np.full((4, 2), 1e308) * [[1, -1]]
    assert metric("mean_absolute_error")(-huge, huge, None) == np.inf
    assert not np.isfinite(metric("r2")(-huge, huge, None))


@pytest.mark.parametrize(
    ("y", "output", "names"),
    [
        (REAL, "identity", ["r2", "mean_absolute_error"]),
        (CLASSES, "softmax", ["accuracy"]),
        (np.eye(2)[CLASSES], "softmax", ["accuracy", "r2"]),
    ],
)
@pytest.mark.parametrize("weights", [None, 1.0 + CLASSES])
def test_metrics_are_of_the_validation_data_or_else_of_the_training_data(y, output, names, weights):
    train, test = slice(0, 14), slice(14, None)
    own = None if weights is None else weights[test]
    model = Model((5, 7, 2), "tanh", output)
    held_out = model.fit(
        X[train], y[train], metrics=names, epochs=2, validation_data=(X[test], y[test], own)
    ).metrics  # fmt: skip
    assert list(held_out) == names
    assert all(len(values) == 2 for values in held_out.values())
    for name in names:
        value = metric(name, model.network, model.loss, y)
        assert held_out[name][-1] == value(y[test], model.predict(X[test]), own)
    model = Model((5, 7, 2), "tanh", output)
    trained_on = model.fit(X, y, metrics=names, epochs=2, sample_weight=weights).metrics
    for name in names:
        assert trained_on[name][-1] == metric(name, model.network, model.loss, y)(y, model.predict(X), weights)
    if "accuracy" in names:
        assert trained_on["accuracy"][-1] == model.evaluate(X, y, weights)["accuracy"]


def test_functions_of_ones_own_get_targets_predictions_and_weights_if_they_ask():
    seen = []

    def plain(y_true, y_pred):
        seen.append((y_true, y_pred))
        return np.float32(0.25)

    def weighted(y_true, y_pred, sample_weight=None):
        return sample_weight.sum()

    model, history = fitted(CLASSES, [plain, weighted], "softmax", sample_weight=1.0 + CLASSES)
    assert history.metrics["plain"].tolist() == [0.25, 0.25]
    assert history.metrics["weighted"].tolist() == [(1 + CLASSES).sum()] * 2
    y_true, y_pred = seen[-1]
    assert y_true.dtype == np.int64
    np.testing.assert_array_equal(y_true, CLASSES)
    np.testing.assert_array_equal(y_pred, model.predict(X))
    _, history = fitted(REAL, [max_of])
    np.testing.assert_array_equal(history.metrics["max_of"], REAL.max())


def max_of(y_true, y_pred):
    return y_true.max()


@pytest.mark.parametrize(
    ("metrics", "y", "error", "words"),
    [
        ("accuracy", CLASSES, TypeError, r"metrics must be a sequence like \(\"accuracy\",\), got 'accuracy'"),
        (["acuracy"], CLASSES, ValueError, "got 'acuracy'; did you mean 'accuracy'"),
        ([3], CLASSES, TypeError, "got 3"),
        (["accuracy"], REAL, ValueError, "accuracy needs classes .* got output 'identity' with squared_error"),
        (["r2"], CLASSES, ValueError, r"r2 needs targets of shape \(n, 2\), got class indices"),
        (["r2", "r2"], REAL, ValueError, "got 'r2' again"),
        ([max_of, max_of], REAL, ValueError, "got 'max_of' again"),
        ([lambda y_true, y_pred: "a"], REAL, TypeError, "<lambda> must return a number, got 'a'"),
    ],
)
def test_metrics_that_make_no_sense_are_refused(metrics, y, error, words):
    with pytest.raises(error, match=words):
        fitted(y, metrics, "softmax" if y is CLASSES else "identity")


def test_a_metric_may_not_be_called_as_a_column_of_the_history():
    def seconds(y_true, y_pred):
        return 0.0

    with pytest.raises(ValueError, match=r"must have distinct names other than cost.* got 'seconds'"):
        fitted(REAL, [seconds])


@pytest.mark.parametrize(
    ("output", "loss", "y"),
    [("softmax", "cross_entropy", 0), ("sigmoid", "binary_cross_entropy", 0), ("identity", "hinge", -1)],
)
def test_an_example_whose_outputs_are_nan_is_not_right(output, loss, y):
    model = Model((3, 2), output=output, loss=loss)
    model.parameters[0] = np.nan
    targets = np.zeros(12, int) if loss == "cross_entropy" else np.full((12, 2), y)
    assert model.evaluate(np.ones((12, 3)), targets)["accuracy"] == 0
