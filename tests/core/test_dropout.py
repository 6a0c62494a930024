"""Dropout: the published generator, units that are dropped independently, exact gradients, the same bits always."""

import copy
import functools
import itertools
import json

import numba
import numpy as np
import pytest
import twin

import fastbp.jit
from fastbp import SGD, Adam, Model
from fastbp.core import slots
from fastbp.core.layers import dropout
from fastbp.core.workspace import padded
from fastbp.data import load_digits, stratified_split
from fastbp.engine.job import Examples
from fastbp.engine.network_table import Objective, training_table
from fastbp.storage import files
from fastbp.training import autotune, run

DTYPES = {4: np.float32, 8: np.float64}
SEED = 0x123456789ABCDEF


def data(sizes, rows, classes=False):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(rows, sizes[0]))
    return X, rng.integers(sizes[-1], size=rows) if classes else rng.normal(size=(rows, sizes[-1]))


# The generator -----------------------------------------------------------------------------------------------


def test_the_twins_generator_gives_the_published_words():
    """The known answers of Philox4x32-10 in the authors' library Random123."""
    for counter, key, words in (
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ):
        counter, key, words = ([int(part, 16) for part in text.split()] for text in (counter, key, words))
        assert twin.philox(counter, key) == tuple(words)


def factors_of_the_core(size, widths, fractions, seed, epoch, order, rows):
    """The factors that the core makes for `rows` examples of an order: one array (rows, width) a hidden layer."""
    model = Model((1, *widths, 1))
    net = training_table(model.network, size, Objective("squared_error", False, True), False, tuple(fractions))
    job = np.zeros(slots.JOB_SLOTS, np.int64)
    job[slots.Job.seed], job[slots.Job.epoch] = seed, epoch - 1
    job[slots.Job.numbers] = 0 if order is None else order.ctypes.data
    capacity = int(padded(rows + 1))
    work = np.full(capacity * net[slots.Net.row], np.nan, DTYPES[size])
    dropout.factors(size).ctypes(
        net.ctypes.data, job.ctypes.data, 1, 3, work.ctypes.data, capacity, 1, rows
    )  # from the third in the order on, to the second row of the memory, in the job's second epoch
    found = []
    for layer, width in zip(net[slots.HEADER :].reshape(-1, slots.LAYER_SLOTS), widths, strict=False):
        begin, stride = capacity * int(layer[slots.Layer.factors]), int(layer[slots.Layer.stride])
        found.append(work[begin + stride : begin + (rows + 1) * stride].reshape(rows, stride)[:, :width])
    return found


@pytest.mark.parametrize("size", DTYPES)
def test_the_core_drops_the_units_that_the_twin_drops(size):
    """For every width up to two groups of 64, so in float32 and in float64 the same ones."""
    widths, rows = list(range(1, 131)), 5
    fractions = [(0.5, 0.1, 0.999, 1 / 3)[i % 4] for i in range(len(widths))]
    numbers = np.array([9, 9, 9, 7, 0, 2**31 + 1, 2**32 - 1, 12])
    for seed, epoch, order in ((0, 1, None), (SEED, 2**32 - 1, numbers), (2**63 - 1, 77, numbers)):
        examples = np.arange(3, 3 + rows) if order is None else order[3:]
        found = factors_of_the_core(size, widths, fractions, seed, epoch, order, rows)
        for layer, (p, width) in enumerate(zip(fractions, widths, strict=True)):
            expected = twin.dropout_factors(p, seed, epoch, layer, examples, width)
            np.testing.assert_array_equal(found[layer], expected.astype(DTYPES[size]))


def kept(p=0.5, seed=0, epoch=0, layer=0, rows=2000, width=96):
    return twin.dropout_factors(p, seed, epoch, layer, np.arange(rows), width) > 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_fraction_of_the_units_is_dropped_in_every_unit_example_epoch_and_layer(p):
    """Deviations from the binomial's mean, in its standard deviations: none is large, and all together are as wide."""
    masks = np.array([[kept(p, epoch=epoch, layer=layer) for epoch in range(4)] for layer in range(3)])
    for axes in ((0, 1, 2), (0, 1, 3), (1, 2, 3), (0, 2, 3)):
        count = np.prod([masks.shape[axis] for axis in axes])
        deviation = (masks.mean(axis=axes) - (1 - p)) / np.sqrt(p * (1 - p) / count)
        assert np.abs(deviation).max() < 4.5
        assert np.mean(deviation**2) == pytest.approx(1, abs=4.5 * np.sqrt(2 / len(deviation)))
    factors = twin.dropout_factors(p, 1, 2, 0, np.arange(5000), 64)
    assert factors.mean() == pytest.approx(1, abs=4 * np.sqrt(p / (1 - p) / factors.size))


def chi_squares(first, second, p):
    """χ² of the four cases (kept or not, kept or not) for each unit: 3 degrees of freedom."""
    total = np.zeros(first.shape[1])
    for a, b in itertools.product((True, False), repeat=2):
        wanted = (1 - p if a else p) * (1 - p if b else p) * len(first)
        total += (((first == a) & (second == b)).sum(axis=0) - wanted) ** 2 / wanted
    return total


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_pairs_of_units_examples_epochs_layers_and_seeds_are_dropped_independently(p):
    mask = kept(p)
    pairs = {f"units {lag} apart": (mask[:, :-lag], mask[:, lag:]) for lag in (1, 2, 15, 16, 17, 32, 48, 64)}
    pairs |= {f"examples {lag} apart": (mask[:-lag], mask[lag:]) for lag in (1, 2, 3, 64, 1000)}
    pairs |= {f"epochs {lag} apart": (mask, kept(p, epoch=lag)) for lag in (1, 2, 32)}
    pairs |= {f"layers {lag} apart": (mask, kept(p, layer=lag)) for lag in (1, 2)}
    pairs |= {f"seeds {lag} apart": (mask, kept(p, seed=lag)) for lag in (1, 2, 2**32)}
    pairs["the next example in the next epoch"] = mask[1:], kept(p, epoch=1)[:-1]
    pairs["the next example in the next layer"] = mask[1:], kept(p, layer=1)[:-1]
    for name, (first, second) in pairs.items():
        chi_square = chi_squares(first, second, p)
        spread = np.sqrt(6 / len(chi_square))  # of a mean of χ² with 3 degrees of freedom
        assert abs(chi_square.mean() - 3) < 4.5 * spread, name
        assert chi_square.max() < 30, name  # 1.4e-6 each


# Training ----------------------------------------------------------------------------------------------------

NETS = [
    twin.Net((5, 19, 33, 3), ("tanh", "relu"), "softmax", "cross_entropy"),
    twin.Net((7, 65, 4), "sigmoid", "identity", "squared_error", bias=False),
    twin.Net((3, 16, 8, 20, 2), ("identity", "sigmoid", "tanh"), "tanh", "half_squared_error", reduction="sum"),
]
CASES = list(zip(NETS, [(0.5, 0.25), (0.4,), (0.1, 0.0, 0.7)], strict=True))
STEPS = {
    "sgd": (SGD(0.01, momentum=0.9), functools.partial(twin.sgd_step, learning_rate=0.01, momentum=0.9)),
    "adam": (Adam(0.01), functools.partial(twin.adam_step, learning_rate=0.01)),
}


def model_of(net, theta, dropped, **options):
    return Model(
        net.sizes, net.hidden, net.output, net.loss, net.bias, "float64", initial=theta, reduction=net.reduction,
        dropout=dropped, **options,
    )  # fmt: skip


def factors_of(net, dropped, epoch, examples, seed=0):
    return [
        twin.dropout_factors(p, seed, epoch, layer, examples, width)
        for layer, (p, width) in enumerate(zip(dropped, net.sizes[1:-1], strict=True))
    ]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("optimizer", STEPS)
@pytest.mark.parametrize(("net", "dropped"), CASES)
def test_twenty_steps_are_those_of_the_twin(net, dropped, optimizer, shuffle):
    rows, batch, seed = 37, 10, 3
    theta, X, y = twin.problem(net, rows)
    weight = 0.5 + np.arange(rows) % 3
    rule, step = STEPS[optimizer]
    model = model_of(net, theta, dropped, seed=seed)
    costs = model.fit(X, y, 5, batch, rule, sample_weight=weight, shuffle=shuffle).cost
    state, expected = None, []
    for epoch in range(5):
        order = run.shuffled(rows, seed, epoch) if shuffle else np.arange(rows)
        total = 0.0
        for some in np.split(order, range(batch, rows, batch)):
            factors = factors_of(net, dropped, epoch, some, seed)
            cost, gradient = twin.value_and_gradient(net, theta, X[some], y[some], weight[some], factors)
            total += cost * (weight[some].sum() if net.reduction == "mean" else 1)
            theta, state = step(theta, gradient, state)
        expected.append(total / (weight.sum() if net.reduction == "mean" else 1))
    np.testing.assert_allclose(model.parameters, theta, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(costs, expected, rtol=1e-10)


@pytest.mark.parametrize(("net", "dropped"), CASES)
def test_the_step_is_the_gradient_of_the_dropped_out_cost_by_central_differences(net, dropped):
    rows = 6
    theta, X, y = twin.problem(net, rows, seed=1)
    model = model_of(net, theta, dropped)
    model.fit(X, y, 1, rows, SGD(1.0), shuffle=False)
    factors = factors_of(net, dropped, 0, np.arange(rows))
    slopes = twin.central_differences(lambda at: twin.cost(net, at, X, y, factors=factors), theta)
    assert any((part == 0).any() for part in factors)
    np.testing.assert_allclose(theta - model.parameters, slopes, rtol=1e-6, atol=1e-8)


# The same bits -----------------------------------------------------------------------------------------------

CUTS = [  # sizes, rows, batch
    ((13, 32, 40, 2), 103, 7),
    ((4, 24, 16, 3), 2100, 1050),  # in shards
    ((700, 100, 3), 90, 40),  # the first layer's sums in halves
    ((5, 30, 2), 20, 3),  # without transposed weights
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sizes", "rows", "batch"), CUTS)
def test_threads_and_slices_do_not_change_a_bit(sizes, rows, batch, dtype, monkeypatch):
    X, y = data(sizes, rows, classes=True)

    def after(calls=(3,), n_threads=1, **options):
        model = Model(sizes, output="softmax", dtype=dtype, dropout=0.3)
        for epochs in calls:
            model.fit(X, y, epochs, batch, n_threads=n_threads, **options)
            model = copy.deepcopy(model)
        return model.parameters

    alone, unshuffled = after(), after(shuffle=False)
    assert np.any(alone != unshuffled)
    for n_threads in (2, 3):
        np.testing.assert_array_equal(after(n_threads=n_threads), alone)
    np.testing.assert_array_equal(after((1, 2), shuffle=False, n_threads=2), unshuffled)
    monkeypatch.setattr(autotune, "SLICE_SECONDS", 1e-9)  # a step at a time
    np.testing.assert_array_equal(after((2, 1), n_threads=2), alone)
    np.testing.assert_array_equal(after(shuffle=False), unshuffled)


def test_which_units_are_dropped_depends_on_the_row_and_not_on_the_order_or_the_batch():
    """The gradients of the batches of an epoch, summed: rounding aside, whatever they are cut into."""
    X, y = data((6, 40, 2), 60)

    def gradient(batch, shuffle, seed=0):
        model = Model((6, 40, 2), "tanh", dtype="float64", initial=start, seed=seed, reduction="sum", dropout=0.5)
        model.fit(X, y, 1, batch, SGD(1e-12), shuffle=shuffle)
        return (start - model.parameters) / 1e-12

    start = Model((6, 40, 2), "tanh", dtype="float64").parameters
    whole = gradient(60, shuffle=False)
    for batch, shuffle in ((60, True), (7, True), (7, False), (1, True)):
        np.testing.assert_allclose(gradient(batch, shuffle), whole, atol=1e-3 * np.abs(whole).max())
    assert np.abs(gradient(60, shuffle=False, seed=1) - whole).max() > 0.1 * np.abs(whole).max()


# Only while fit runs -----------------------------------------------------------------------------------------


@numba.njit
def embedded(net, theta, X, y, gradient, workspace):
    return fastbp.jit.value_and_gradient(net, theta, X, y, gradient, workspace)


def test_everything_but_fit_uses_all_units():
    sizes = (6, 20, 3)
    X, y = data(sizes, 50)
    plain, dropping = Model(sizes), Model(sizes, dropout=0.5)
    for model in (plain, dropping):
        model.fit(X, y, epochs=1)
    assert np.any(plain.parameters != dropping.parameters)
    plain.parameters = dropping.parameters
    np.testing.assert_array_equal(plain.predict(X), dropping.predict(X))
    assert plain.evaluate(X, y) == dropping.evaluate(X, y)
    for found, expected in zip(dropping.forward(X).a, plain.forward(X).a, strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(dropping.backward(X, y).dz, plain.backward(X, y).dz, strict=True):
        np.testing.assert_array_equal(found, expected)
    cost, gradient = dropping.value_and_gradient(X, y)
    assert cost == plain.value_and_gradient(X, y)[0]
    np.testing.assert_array_equal(gradient, plain.value_and_gradient(X, y)[1])
    assert dropping.check_gradient(X, y).passed
    found = np.empty_like(gradient)
    arrays = (np.asarray(array, np.float32) for array in (X, y))
    assert embedded(dropping.compiled(), dropping.parameters, *arrays, found, dropping.workspace(50)) == cost
    np.testing.assert_array_equal(found, gradient)
    history = dropping.fit(X, y, epochs=1, optimizer=SGD(1e-30), validation_data=(X, y))
    assert history.validation_cost[0] == dropping.evaluate(X, y)["cost"]
    assert history.cost[0] != pytest.approx(history.validation_cost[0], rel=1e-3)


def test_a_network_without_dropout_has_the_table_that_it_always_had():
    net = Model((4, 30, 3))._problem.net(Examples(np.zeros((9, 4), "f4"), np.zeros((9, 3), "f4")), 9)
    dropping = training_table(Model((4, 30, 3)).network, 4, Objective("squared_error", False, True), False, (0.5,))
    assert net[slots.Net.factors] == net[slots.Net.drop] == 0
    layers = net[slots.HEADER :].reshape(2, slots.LAYER_SLOTS)
    assert not layers[:, [slots.Layer.dropout, slots.Layer.factors]].any()
    assert (layers[:, slots.Layer.dropped] == layers[:, slots.Layer.a]).all()
    assert dropping[slots.Net.row] == net[slots.Net.row] + 2 * layers[0, slots.Layer.stride]


def test_a_fraction_of_0_changes_nothing():
    X, y = data((4, 9, 8, 2), 40)
    models = [Model((4, 9, 8, 2), dropout=p) for p in (0.0, (0, 0.0))]
    for model in models:
        model.fit(X, y)
    assert models[0].dropout == models[1].dropout == (0.0, 0.0)
    np.testing.assert_array_equal(models[0].parameters, models[1].parameters)


# Input validation and the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (1, ValueError, "dropout must lie in [0, 1), got 1"),
        (-0.1, ValueError, "dropout must lie in [0, 1), got -0.1"),
        (float("nan"), ValueError, "dropout must lie in [0, 1), got nan"),
        ("0.5", TypeError, "dropout must be a number, got '0.5'"),
        (None, TypeError, "dropout must be a number, got None"),
        ((0.5, True), TypeError, "dropout[1] must be a number, got True"),
        ((0.5, 1.0), ValueError, "dropout[1] must lie in [0, 1), got 1.0"),
        ([0.5], ValueError, "dropout must be one fraction or one for each of the 2 hidden layers, got 1: [0.5]"),
    ],
)
def test_other_values_are_refused(wrong, error, said):
    with pytest.raises(error) as caught:
        Model((2, 3, 3, 1), dropout=wrong)
    assert str(caught.value) == said


def test_a_model_keeps_its_fractions(tmp_path):
    path, (X, y) = tmp_path / "model", data((2, 3, 8, 1), 12)
    model = Model((2, 3, 8, 1), dropout=np.array([0.25, 0.5]))
    assert model.dropout == (0.25, 0.5)
    assert "dropout=(0.25, 0.5)" in repr(model)
    assert "dropout" not in repr(Model((2, 3, 1)))
    assert Model((2, 1), dropout=0.5).dropout == ()
    model.fit(X, y)
    model.save(path)
    loaded, copied = Model.load(path), copy.deepcopy(model)
    for one in (model, loaded, copied):
        one.fit(X, y)
        assert one.dropout == (0.25, 0.5)
        np.testing.assert_array_equal(one.parameters, model.parameters)


def test_a_file_of_a_time_before_dropout_has_none(tmp_path):
    path = tmp_path / "model"
    Model((2, 3, 3, 1)).save(path)
    tensors, metadata = files.read(path)
    description = json.loads(metadata["model"])
    del description["dropout"]
    files.write(path, tensors, {"model": json.dumps(description)})
    assert Model.load(path).dropout == (0.0, 0.0)


# Real data -----------------------------------------------------------------------------------------------------


def test_digits_are_learned_with_dropout():
    X, y = load_digits()
    X = X / 16
    train, test = stratified_split(y, 0.2, seed=0)
    model = Model((64, 64, 10), output="softmax", dropout=0.3)
    cost = model.fit(X[train], y[train], epochs=60, optimizer=Adam(0.003)).cost
    result = model.evaluate(X[test], y[test])
    assert result["accuracy"] >= 0.95
    assert model.evaluate(X[train], y[train])["cost"] < 0.5 * cost[-1], "with all units it is better than without some"
