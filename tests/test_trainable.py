"""Frozen layers keep their bits, whatever trains the others; their gradient is 0."""

import numpy as np
import pytest

import fastbp

SIZES = (6, 20, 9, 3)
FLAGS = [(True, False, True), (False, True, True), (False, False, True), (True, True, False), (False, True, False)]


def data(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, SIZES[0])), rng.normal(size=(rows, SIZES[-1]))


def model_of(flags, **options):
    model = fastbp.Model(SIZES, "tanh", dtype="float64", **options)
    model.trainable = flags
    return model


def frozen(model):
    """Which parameters lie in frozen layers."""
    return np.repeat(~np.array(model.trainable), np.diff(model.network.offsets))


OPTIMIZERS = [
    fastbp.SGD(0.1), fastbp.SGD(0.1, momentum=0.9), fastbp.Adam(), fastbp.AdamW(weight_decay=0.1), fastbp.Rprop(),
    fastbp.Adam(clip_norm=0.1),
]  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize(("batch", "threads"), [(2, 1), (32, 2), (300, 3)])
def test_frozen_layers_keep_their_bits_and_the_others_learn(flags, optimizer, batch, threads):
    X, y = data()
    if isinstance(optimizer, fastbp.Rprop):
        batch = len(X)
    model = model_of(flags, l2=0.01)
    before, kept = model.parameters.copy(), frozen(model)
    model.fit(X, y, 2, batch, optimizer=optimizer, n_threads=threads)
    model.step(X[:batch], y[:batch])
    model.apply_gradient(np.ones_like(before))
    np.testing.assert_array_equal(model.parameters[kept], before[kept])
    assert (model.parameters[~kept] != before[~kept]).mean() > 0.99


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("rows", [1, 4, 33, 3000])
def test_the_gradient_is_that_of_all_layers_with_zeros_where_they_are_frozen(flags, rows):
    X, y = data(rows)
    model, whole = model_of(flags, l1=0.01, l2=0.1), fastbp.Model(SIZES, "tanh", dtype="float64", l1=0.01, l2=0.1)
    cost, gradient = model.value_and_gradient(X, y)
    expected_cost, expected = whole.value_and_gradient(X, y)
    expected[frozen(model)] = 0
    assert cost == expected_cost
    np.testing.assert_array_equal(gradient, expected)
    for one, other in zip(model.backward(X, y).dz, whole.backward(X, y).dz, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch", [3, 40])
def test_a_step_is_the_step_by_that_gradient(batch):
    X, y = data(batch)
    model = model_of((False, True, True))
    before, (_, gradient) = model.parameters.copy(), model.value_and_gradient(X, y)
    model.step(X, y, optimizer=fastbp.SGD(0.5))
    np.testing.assert_allclose(model.parameters, before - 0.5 * gradient, rtol=1e-12, atol=1e-14)


def test_clipping_does_not_count_the_gradient_of_frozen_layers():
    model, gradient = model_of((False, True, True)), np.ones(fastbp.Model(SIZES).parameters.size)
    free = ~frozen(model)
    before = model.parameters.copy()
    model.apply_gradient(gradient, optimizer=fastbp.SGD(1.0, clip_norm=1.0))
    np.testing.assert_allclose(np.linalg.norm((model.parameters - before)[free]), 1.0, rtol=1e-12)


def test_any_number_of_threads_gives_the_same_bits():
    X, y = data(2000)
    results = []
    for threads in (1, 2, 3):
        model = model_of((False, True, True))
        model.fit(X, y, 2, 500, n_threads=threads)
        results.append(model.parameters)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_file_keeps_what_is_frozen(tmp_path):
    model = model_of((True, False, True))
    model.save(tmp_path / "model")
    assert fastbp.Model.load(tmp_path / "model").trainable == (True, False, True)


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        ((False, False, False), ValueError, "at least one layer"),
        ((True, False), ValueError, "each of the 3 layers, got 2"),
        ((True, 0.5, True), TypeError, "trainable.1. must be"),
        ("yes", TypeError, "sequence of True and False"),
        (True, TypeError, "sequence of True and False"),
    ],
)
def test_wrong_values_are_named(flags, error, message):
    with pytest.raises(error, match=message):
        fastbp.Model(SIZES).trainable = flags
