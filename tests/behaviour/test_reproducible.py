"""The same bits: for every number of threads, for one row or many, for one fit or the same fit again."""

import numpy as np
import pytest

from fastbp import SGD, Adam, AdamW, Model, NAdam
from fastbp.core import slots, workspace
from fastbp.schedules import OnPlateau

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])
ACTIVATIONS = ["identity", "sigmoid", "tanh", "relu"]
WIDTHS = [*range(1, 71), 100, 130]


def data(sizes, rows, seed=0, classes=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, sizes[0]))
    y = rng.integers(sizes[-1], size=rows) if classes else rng.normal(size=(rows, sizes[-1]))
    return X, y


def shards(sizes, batch, dtype="float32"):
    return int(workspace.shards_of(Model(sizes, dtype=dtype).compiled(), batch))


# One row or many.


@DTYPES
def test_a_row_predicted_alone_has_the_bits_it_has_among_others_for_every_width(dtype):
    for i, width in enumerate(WIDTHS):
        sizes = (WIDTHS[(i + 31) % 72], width, WIDTHS[(i + 47) % 72])
        model = Model(sizes, hidden=ACTIVATIONS[i % 4], dtype=dtype, seed=i)
        X, _ = data(sizes, rows=1 + (5 * i) % 70, seed=i)
        together = model.predict(X)
        assert together.dtype == np.dtype(dtype)
        assert np.any(together)
        for n in range(len(X)):
            np.testing.assert_array_equal(model.predict(X[n : n + 1]), together[n : n + 1], strict=True)


@DTYPES
@pytest.mark.parametrize("output", [*ACTIVATIONS, "softmax"])
def test_a_row_predicted_alone_has_the_bits_it_has_among_others_for_every_output(output, dtype):
    for sizes in [(13, 32, 32, 2), (5, 7, 1), (20, 24, 70, 10), (64, 130, 17)]:
        for hidden in ACTIVATIONS:
            model = Model(sizes, hidden=hidden, output=output, dtype=dtype)
            X, _ = data(sizes, rows=61)
            together = model.predict(X)
            for n in range(len(X)):
                np.testing.assert_array_equal(model.predict(X[n : n + 1])[0], together[n])


@DTYPES
def test_a_prediction_has_the_same_bits_for_every_cut_of_the_rows(dtype):
    sizes = (19, 45, 23, 5)
    model = Model(sizes, hidden="tanh", output="softmax", dtype=dtype)
    X, _ = data(sizes, rows=1500)
    together = model.predict(X)
    for size in (1, 2, 3, 5, 6, 7, 12, 24, 31, 64, 100, 257, 1499):
        pieces = [model.predict(X[start : start + size]) for start in range(0, len(X), size)]
        np.testing.assert_array_equal(np.concatenate(pieces), together)
        np.testing.assert_array_equal(model.forward(X[:size]).a[-1], together[:size])


# Any number of threads.


def fitted(n_threads, sizes, rows, batch_size, dtype="float32", shuffle=True, epochs=3, optimizer=None, **model):
    """What a fit leaves behind: parameters, costs, and parameters after continuing."""
    X, y = data(sizes, rows, classes=model.get("output") == "softmax")
    weight = 0.5 + np.arange(rows) % 3
    net = Model(sizes, dtype=dtype, seed=1, **model)
    start = net.parameters.copy()
    settings = {"batch_size": batch_size, "shuffle": shuffle, "n_threads": n_threads}
    first = net.fit(X, y, epochs=epochs, optimizer=optimizer, **settings)
    after_first = net.parameters.copy()
    second = net.fit(X, y, epochs=1, sample_weight=weight, validation_data=(X, y), **settings)
    assert np.any(after_first != start)
    assert np.all(np.isfinite(net.parameters))
    return after_first, net.parameters.copy(), first.cost, second.cost, second.validation_cost


def assert_same_bits_for_all_teams(*args, **kwargs):
    alone = fitted(1, *args, **kwargs)
    for n_threads in (2, 3, 8):
        for found, expected in zip(fitted(n_threads, *args, **kwargs), alone, strict=True):
            np.testing.assert_array_equal(found, expected, strict=True)


@DTYPES
def test_many_rows_that_several_threads_share_have_the_bits_of_each_row_alone(dtype):
    model = Model((8, 64, 64, 4), output="softmax", dtype=dtype, seed=3)
    X, y = data(model.network.sizes, rows=20_011, classes=True)
    together = model.predict(X)
    for n in [0, 1, 4_000, 7_919, 19_999, 20_010]:
        np.testing.assert_array_equal(model.predict(X[n : n + 1]), together[n : n + 1], strict=True)
    chosen = together[np.arange(len(y)), y].astype("f8")
    np.testing.assert_allclose(model.evaluate(X, y)["cost"], -np.log(chosen).mean(), rtol=1e-5)
    assert model.evaluate(X, y) == model.evaluate(X, y)


@DTYPES
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 32, 50, 200])
def test_small_networks_learn_the_same_bits_with_any_number_of_threads(batch_size, shuffle, dtype):
    """103 rows leave a ragged last batch, and batches of 1 to 7 are smaller than the largest team."""
    sizes = (13, 32, 32, 2)
    assert_same_bits_for_all_teams(
        sizes, 103, batch_size, dtype=dtype, shuffle=shuffle, hidden="relu", output="softmax"
    )


def test_activations_whose_z_is_kept_learn_the_same_bits_with_any_number_of_threads():
    assert_same_bits_for_all_teams((7, 21, 9, 2), 103, 32, epochs=1, hidden=("gelu", "silu"))


@DTYPES
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [3, 128, 301])
def test_large_networks_learn_the_same_bits_with_any_number_of_threads(batch_size, shuffle, dtype):
    rows = {3: 20, 128: 301, 301: 301}[batch_size]
    sizes = (784, 128, 10)
    assert_same_bits_for_all_teams(sizes, rows, batch_size, dtype=dtype, shuffle=shuffle, epochs=2, output="softmax")


@DTYPES
def test_a_full_batch_of_5000_rows_learns_the_same_bits_with_any_number_of_threads(dtype):
    assert_same_bits_for_all_teams((4, 32, 16, 4), 5000, 5000, dtype=dtype, epochs=4, hidden="tanh")


@pytest.mark.parametrize(
    "optimizer", ["sgd", "adam", SGD(0.001, 0.9), SGD(0.001, 0.9, nesterov=True), Adam(0.01), "rmsprop"]
)
def test_every_optimizer_learns_the_same_bits_with_any_number_of_threads(optimizer):
    assert_same_bits_for_all_teams((30, 100, 3), 430, 200, optimizer=optimizer, hidden="tanh")


@pytest.mark.parametrize("sizes", [(70, 3), (30, 100, 3), (1100, 64, 2)])
def test_penalties_and_clipping_leave_the_same_bits_with_any_number_of_threads(sizes):
    for optimizer in (AdamW(OnPlateau(0.01, patience=1), clip_norm=0.5), SGD(0.01, clip_norm=0.5)):
        assert_same_bits_for_all_teams(sizes, 75, 33, hidden="tanh", l1=0.01, l2=0.1, optimizer=optimizer)


@DTYPES
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_strips_of_weights_that_learn_one_by_one_learn_the_bits_of_all_at_once(bias, n_threads, dtype):
    """Who clips at a norm that is never reached looks at the whole gradient before theta changes."""
    strips, shapes = 0, [(2, 3, 2), (150, 400, 3), (5000, 3, 200), (1984, 10), (300, 200, 180), (16, 32, 4)]
    for sizes, batch in zip(shapes, (5, 33, 40, 40, 2, 1050), strict=True):
        net = Model(sizes, dtype=dtype, bias=bias).compiled()
        layers = net[slots.HEADER :].reshape(-1, slots.LAYER_SLOTS)
        strips = max(strips, *(layers[:, slots.Layer.n_in] // layers[:, slots.Layer.strip]))
        X, y = data(sizes, 2 * batch)
        models = [Model(sizes, dtype=dtype, bias=bias, seed=1) for _ in range(2)]
        for model, clip_norm in zip(models, (None, 1e30), strict=True):
            model.fit(X, y, epochs=2, batch_size=batch, optimizer=Adam(clip_norm=clip_norm), n_threads=n_threads)
        np.testing.assert_array_equal(models[0].parameters, models[1].parameters, strict=True)
    assert strips > 2
    assert shards(sizes, batch, dtype) > 1


def test_penalties_and_clipping_of_a_batch_in_shards_leave_the_same_bits_with_any_number_of_threads():
    optimizer = NAdam(0.01, clip_norm=0.5)
    assert shards((16, 32, 4), 1050) > 1
    assert_same_bits_for_all_teams((16, 32, 4), 2100, 1050, hidden="tanh", l1=0.01, l2=0.1, optimizer=optimizer)


@DTYPES
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_batch_of_200_in_two_shards_learns_the_same_bits_with_any_number_of_threads(shuffle, dtype):
    """With a last batch of 30 rows, and one of a single row, for both shards."""
    assert shards((64, 64, 10), 200, dtype) == 2
    for rows in (430, 401):
        assert_same_bits_for_all_teams(
            (64, 64, 10), rows, 200, dtype=dtype, shuffle=shuffle, output="softmax", dropout=0.2
        )


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_a_diverging_batch_in_shards_leaves_the_last_finite_parameters(n_threads):
    X, y = data((64, 64, 10), 800)
    X[600] *= 1e30  # in the second shard of the last batch
    model, before = (Model((64, 64, 10), seed=1) for _ in range(2))
    assert shards((64, 64, 10), 200) == 2
    with pytest.raises(FloatingPointError, match="epoch 1, step 4"):
        model.fit(X, y, epochs=2, batch_size=200, shuffle=False, n_threads=n_threads)
    before.fit(X[:600], y[:600], epochs=1, batch_size=200, shuffle=False, n_threads=1)
    np.testing.assert_array_equal(model.parameters, before.parameters, strict=True)


@pytest.mark.parametrize("sizes", [(1, 70_000, 1), (4, 16_384, 2)])
def test_a_first_layer_with_many_weights_of_few_inputs_learns_the_same_bits(sizes):
    assert_same_bits_for_all_teams(sizes, 40, 16, epochs=1)


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1), (70, 3), (2, 1, 1, 2), (5, 130, 3, 67, 9)])
@pytest.mark.parametrize("bias", [True, False])
def test_odd_shapes_learn_the_same_bits_with_any_number_of_threads(sizes, bias):
    assert_same_bits_for_all_teams(sizes, 75, 33, hidden="tanh", bias=bias, optimizer=SGD(0.01))


def test_the_largest_of_nets_with_a_batch_for_each_of_many_rows_learns_the_same_bits():
    """Wide layers and many rows in a step, where a team is worth most."""
    assert_same_bits_for_all_teams((256, 256, 256, 10), 700, 512, epochs=1, output="softmax")


# The same again.


@DTYPES
@pytest.mark.parametrize("n_threads", [1, 2, None])
def test_the_same_seed_and_data_give_the_same_bits_again(n_threads, dtype):
    once, again = (fitted(n_threads, (13, 32, 2), 103, 32, dtype=dtype) for _ in range(2))
    for found, expected in zip(again, once, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


def test_shuffling_depends_on_the_seed_and_changes_from_epoch_to_epoch():
    sizes = (5, 8, 2)
    X, y = data(sizes, rows=40)
    theta = Model(sizes, seed=0).parameters.copy()

    def after(seed, epochs, shuffle=True):
        model = Model(sizes, seed=seed, initial=theta)
        for _ in range(epochs):
            model.fit(X, y, epochs=1, batch_size=7, optimizer=SGD(0.01), shuffle=shuffle)
        return model.parameters.copy()

    assert np.any(after(0, 1) != after(1, 1)), "another seed, another order"
    assert np.any(after(0, 1) != after(0, 1, shuffle=False)), "a shuffled epoch differs from the order given"
    np.testing.assert_array_equal(after(0, 2), after(0, 2))


@DTYPES
def test_fit_in_pieces_shuffles_as_one_fit(dtype):
    sizes = (5, 8, 2)
    X, y = data(sizes, rows=40)
    whole, pieces = Model(sizes, dtype=dtype), Model(sizes, dtype=dtype)
    whole.fit(X, y, epochs=4, batch_size=7)
    for epochs in (1, 2, 1):
        pieces.fit(X, y, epochs=epochs, batch_size=7)
    np.testing.assert_array_equal(pieces.parameters, whole.parameters)
