"""What fit does beside the steps: callbacks, early stopping, rows held out, weights of classes, going on."""

import dataclasses
import functools
import json
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp import SGD, Callback, EarlyStopping, Model, State
from fastbp.data import load_digits, stratified_split
from fastbp.model import FIT_DEFAULTS
from fastbp.training import autotune, prepare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(21, 5)).astype(np.float32)
Y = RNG.normal(size=(21, 2)).astype(np.float32)
STEPS = 6  # an epoch


@functools.cache
def digits():
    images, labels = load_digits()
    return images / 16, labels


def new_model(**options):
    return Model((5, 7, 2), hidden="tanh", seed=3, **options)


def fit(model, epochs=3, **options):
    return model.fit(X, Y, epochs=epochs, batch_size=4, **options)


def classifier(**options):
    return Model((64, 32, 10), output="softmax", **options)


def same_bits(a, b):
    np.testing.assert_array_equal(a, b, strict=True)


@pytest.fixture
def single_steps(monkeypatch):
    """Every slice is one step."""
    monkeypatch.setattr(autotune, "SLICE_SECONDS", 1e-9)


class Recorder(Callback):
    """Records all calls."""

    def __init__(self):
        self.slices, self.epochs, self.calls = [], [], []

    def before_fit(self, columns):
        self.calls.append("before")

    def after_slice(self, state):
        self.slices.append(state)
        self.calls.append("slice")

    def after_epoch(self, state):
        self.epochs.append(state)
        self.calls.append("epoch")

    def after_fit(self, state):
        self.calls.append("after")


# Callbacks.


def test_a_function_is_called_after_each_epoch_with_what_the_history_records():
    model, states = new_model(), []
    fit(model, epochs=2)
    history = fit(model, validation_data=(X, Y), metrics=["r2"], callbacks=[states.append])
    assert [state.epoch for state in states] == [3, 4, 5] == list(history.epoch)
    assert [state.steps for state in states] == [STEPS, 2 * STEPS, 3 * STEPS]
    same_bits(np.array([state.cost for state in states]), history.cost)
    same_bits(np.array([state.validation_cost for state in states]), history.validation_cost)
    same_bits(np.array([state.metrics["r2"] for state in states]), history.metrics["r2"])
    assert {state.learning_rate for state in states} == {0.001}
    np.testing.assert_allclose([state.seconds for state in states], np.cumsum(history.seconds))
    assert all(state.model is model for state in states)


@pytest.mark.usefixtures("single_steps")
def test_callbacks_after_slices_get_the_cost_of_the_epoch_so_far():
    model, recorder = new_model(), Recorder()
    alone, costs = new_model(), []
    history = fit(model, epochs=1, shuffle=False, callbacks=[recorder])
    for rows in np.split(np.arange(21), range(4, 21, 4)):
        costs.append(alone.fit(X[rows], Y[rows], epochs=1, shuffle=False).cost[0] * len(rows))
        assert recorder.slices[len(costs) - 1].cost == pytest.approx(sum(costs) / (rows[-1] + 1), rel=1e-6)
    assert [state.steps for state in recorder.slices] == list(range(1, STEPS + 1))
    assert [state.epoch for state in recorder.slices] == [0] * (STEPS - 1) + [1]
    assert recorder.slices[0].validation_cost is None
    assert recorder.slices[-1].cost == recorder.epochs[0].cost == history.cost[0]
    assert recorder.calls == ["before", *["slice"] * (STEPS - 1), "epoch", "slice", "after"]


def test_short_epochs_share_a_slice_unless_something_follows_each():
    class Slices(Callback):
        count = 0

        def after_slice(self, state):
            self.count += 1

    slices, model, other = Slices(), new_model(), new_model()
    history = fit(model, epochs=500, callbacks=[slices])
    assert slices.count < 100
    each = fit(other, epochs=500, callbacks=[lambda state: None], metrics=["r2"])
    same_bits(model.parameters, other.parameters)
    same_bits(history.cost, each.cost)


@pytest.mark.usefixtures("single_steps")
def test_true_stops_the_training_and_nothing_else_does():
    class AfterSteps(Callback):
        def after_slice(self, state):
            return state.steps == 8

    for stop, epochs in ((lambda state: np.True_, 1), (lambda state: state.epoch >= 2, 2), (AfterSteps(), 1)):
        model = new_model()
        assert len(fit(model, epochs=5, callbacks=[stop, Recorder()])) == epochs
        assert model._state.epochs == epochs
    assert model._state.updates == 8
    assert len(fit(new_model(), callbacks=[lambda state: 1, lambda state: "stop", lambda state: False])) == 3


def test_a_state_cannot_be_changed():
    states = []
    fit(new_model(), epochs=1, metrics=["r2"], callbacks=[states.append])
    with pytest.raises(dataclasses.FrozenInstanceError):
        states[0].epoch = 7
    with pytest.raises(TypeError):
        states[0].metrics["r2"] = 1.0


@pytest.mark.usefixtures("single_steps")
def test_an_exception_comes_through_and_leaves_a_consistent_model():
    class Trouble(Exception):
        pass

    class AfterSlice(Callback):
        def after_slice(self, state):
            trouble(state.model)

    def trouble(model):
        if model._state.updates == STEPS:
            raise Trouble

    def metric(y_true, y_pred):
        raise Trouble

    other = new_model()
    fit(other, epochs=3)
    for options in (
        {"callbacks": [lambda state: trouble(state.model)]},
        {"callbacks": [AfterSlice()]},
        {"metrics": [metric]},
    ):
        model, recorder = new_model(), Recorder()
        with pytest.raises(Trouble):
            fit(model, **{**options, "callbacks": [recorder, *options.get("callbacks", [])]})
        assert "after" not in recorder.calls
        assert (model._state.updates, model._state.epochs) == (STEPS, 1)
        fit(model, epochs=2)
        same_bits(model.parameters, other.parameters)


def test_ctrl_c_in_a_callback_ends_fit_after_it():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        model, recorder, stopping = new_model(), Recorder(), EarlyStopping(monitor="cost")
        with pytest.raises(KeyboardInterrupt):
            fit(model, callbacks=[lambda state: signal.raise_signal(signal.SIGINT), recorder, stopping])
        assert (model._state.updates, model._state.epochs) == (STEPS, 1)
        assert recorder.calls[-1] != "after"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_callback_may_save_the_model_which_continues_bit_identically(tmp_path):
    model = new_model()
    fit(model, callbacks=[lambda state: state.model.save(tmp_path / str(state.epoch))])
    for epoch in (1, 2):
        other = Model.load(tmp_path / str(epoch))
        fit(other, epochs=3 - epoch)
        same_bits(other.parameters, model.parameters)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"callbacks": print}, "callbacks must be a sequence"),
        ({"callbacks": "abc"}, "callbacks must be a sequence"),
        ({"callbacks": [3]}, "callbacks must hold functions"),
        ({"callbacks": [EarlyStopping]}, "callbacks must hold functions"),
        ({"early_stopping": 3}, "early_stopping must be a fastbp.EarlyStopping"),
    ],
)
def test_what_cannot_be_called_is_refused(options, words):
    model = new_model()
    with pytest.raises(TypeError, match=words):
        fit(model, optimizer=SGD(), **options)
    assert model.optimizer != SGD()


# Early stopping.


@pytest.mark.parametrize("restore_best", [True, False])
def test_early_stopping_ends_with_the_best_parameters_on_digits(restore_best):
    images, labels = digits()
    train, test = stratified_split(labels, 0.5)
    model, stopping = classifier(), EarlyStopping(patience=4, restore_best=restore_best)
    history = model.fit(
        images[train][:300],
        labels[train][:300],
        epochs=300,
        optimizer=SGD(0.2, momentum=0.9),
        validation_data=(images[test], labels[test]),
        early_stopping=stopping,
    )
    best = int(history.validation_cost.argmin())
    assert len(history) == best + 1 + 4 < 300
    assert (stopping.best, stopping.best_epoch) == (history.validation_cost[best], best + 1)
    cost = model.evaluate(images[test], labels[test])["cost"]
    assert cost == history.validation_cost[best if restore_best else -1]


def test_a_metric_is_monitored_and_stops_where_it_is_highest():
    images, labels = digits()
    model, stopping = classifier(), EarlyStopping(patience=2, monitor="accuracy")
    history = model.fit(
        images, labels, epochs=100, validation_fraction=0.3, metrics=["accuracy"], callbacks=[stopping]
    )  # fmt: skip
    accuracy = history.metrics["accuracy"]
    assert stopping.best == accuracy.max() == accuracy[-3] > 0.9
    assert len(history) < 100


def decisions_of(stopping, values, model):
    """After which epoch it stops, of a cost with these values; 0: after none."""
    stopping.before_fit({"cost": False})
    for epoch, value in enumerate(values, 1):
        if stopping.after_epoch(State(epoch, epoch, value, None, {}, 0.1, 0.0, model)):
            return epoch
    return 0


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, np.nan, np.inf]), max_size=12),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5]),
    st.booleans(),
)
@settings(deadline=None)
def test_it_stops_after_patience_epochs_that_are_not_better_by_min_delta(values, patience, min_delta, higher):
    model = new_model()
    stopping = EarlyStopping(patience, min_delta, monitor="cost", higher_is_better=higher)
    for _ in range(2):  # as at first, when used again
        expected = best = best_epoch = 0
        for epoch, value in enumerate(values, 1):
            gain = (value - best) * (1 if higher else -1)
            if np.isfinite(value) and (not best_epoch or gain > min_delta):
                best, best_epoch = value, epoch
            if epoch - best_epoch == patience:
                expected = epoch
                break
        assert decisions_of(stopping, values, model) == expected
        assert stopping.best_epoch == best_epoch


def test_early_stopping_that_cannot_be_is_refused():
    def own(y_true, y_pred):
        return 1.0

    model = new_model()
    for options, words in [
        ({}, "monitor must be one of cost in this fit, got 'validation_cost'; fit has no validation data"),
        ({"monitor": "r2"}, "monitor must be one of cost, own in this fit, got 'r2'"),
        ({"monitor": "own"}, "needs higher_is_better for monitor='own'"),
    ]:
        with pytest.raises(ValueError, match=words):
            fit(model, early_stopping=EarlyStopping(**options), metrics=[own] if options else [], optimizer=SGD())
    assert model.optimizer != SGD()
    for arguments in ({"patience": 0}, {"min_delta": -1}, {"restore_best": 1}, {"monitor": 3}):
        with pytest.raises((ValueError, TypeError), match=next(iter(arguments))):
            EarlyStopping(**arguments)
    own.higher_is_better = True
    assert len(fit(model, early_stopping=EarlyStopping(2, monitor="own"), metrics=[own], epochs=9)) == 3


# Rows held out.


def test_rows_held_out_are_those_of_a_stratified_split_and_not_trained_on():
    images, labels = digits()
    one, other = classifier(seed=5), classifier(seed=5)
    held = one.fit(images, labels, epochs=2, validation_fraction=0.25)
    train, test = stratified_split(labels, 0.25, seed=5)
    split = other.fit(images[train], labels[train], epochs=2, validation_data=(images[test], labels[test]))
    same_bits(one.parameters, other.parameters)
    same_bits(held.validation_cost, split.validation_cost)
    np.testing.assert_allclose(np.bincount(labels[test]) / np.bincount(labels), 0.25, atol=0.005)


@pytest.mark.parametrize("kind", ["regression", "one-hot", "binary"])
def test_every_kind_of_target_can_be_held_out_with_its_weights(kind):
    rows = np.arange(21)
    classes = rows % 2
    output, y, strata = {
        "regression": ("identity", Y, np.zeros(21)),
        "one-hot": ("softmax", np.eye(2)[classes], classes),
        "binary": ("sigmoid", np.stack([classes, classes], axis=1)[:, :1], classes),
    }[kind]
    sizes = (5, 7, y.shape[1])
    loss = "binary_cross_entropy" if kind == "binary" else None
    weight = 1.0 + rows
    model, other = (Model(sizes, "tanh", output, loss) for _ in range(2))
    found = model.fit(X, y, validation_fraction=0.3, sample_weight=weight, epochs=2)
    train, test = stratified_split(strata, 0.3)
    expected = other.fit(
        X[train], y[train], sample_weight=weight[train], validation_data=(X[test], y[test], weight[test]), epochs=2
    )  # fmt: skip
    same_bits(model.parameters, other.parameters)
    same_bits(found.validation_cost, expected.validation_cost)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validation_fraction": 0}, "validation_fraction must lie between 0 and 1, got 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1, got 1.0"),
        ({"validation_fraction": 0.001}, "validation_fraction=0.001 leaves none of 21 rows"),
        ({"validation_fraction": 0.2, "validation_data": (X, Y)}, "validation_fraction must be None"),
        ({"validation_fraction": 0.2, "sample_weight": np.eye(21)[0]}, "sample_weight must not be all zero for"),
    ],
)
def test_what_cannot_be_held_out_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        fit(new_model(), **options)


# Weights of classes.


def test_balanced_classes_weigh_the_same_and_multiply_the_weights_of_examples():
    classes = np.repeat([0, 1], [15, 6])
    weight = 1.0 + np.arange(21) % 3
    by_class = np.where(classes == 0, 21 / (2 * 15), 21 / (2 * 6))
    assert by_class[classes == 0].sum() == pytest.approx(by_class[classes == 1].sum())
    for given_, class_weight, expected in [
        (None, "balanced", by_class),
        (weight, "balanced", weight * by_class),
        (weight, {0: 0.25}, weight * np.where(classes == 0, 0.25, 1)),
        (None, {np.int64(0): 0, 1: 2}, 2.0 * classes),
    ]:
        for output, y in (("softmax", classes), ("softmax", np.eye(2)[classes]), ("sigmoid", classes)):
            sizes = (5, 7, 1 if output == "sigmoid" else 2)
            loss = "binary_cross_entropy" if output == "sigmoid" else None
            one, other = (Model(sizes, "tanh", output, loss) for _ in range(2))
            one.fit(X, y, sample_weight=given_, class_weight=class_weight, epochs=2)
            other.fit(X, y, sample_weight=expected, epochs=2)
            same_bits(one.parameters, other.parameters)


def test_balancing_finds_more_of_a_rare_digit():
    images, labels = digits()
    eights = labels == 8
    rows = np.sort(np.r_[np.flatnonzero(~eights)[:900], np.flatnonzero(eights)[:12]])
    found = {}
    for class_weight in (None, "balanced"):
        model = classifier()
        model.fit(images[rows], labels[rows], epochs=5, class_weight=class_weight)
        found[class_weight] = np.mean(model.predict(images[eights][12:]).argmax(axis=1) == 8)
    assert found["balanced"] > found[None] + 0.1, found


@pytest.mark.parametrize(
    ("class_weight", "error", "words"),
    [
        ("equal", ValueError, "must be \"balanced\" or a dict of class -> weight, got 'equal'"),
        ([1, 2], TypeError, 'must be "balanced" or a dict'),
        ({2: 1.0}, ValueError, "must name classes from 0 to 1, got 2"),
        ({"a": 1.0}, TypeError, "a class of class_weight must be a whole number"),
        ({0: -1.0}, ValueError, r"class_weight\[0\] must be finite and not negative, got -1.0"),
        ({0: 0, 1: 0}, ValueError, "sample_weight by class_weight must not be all zero"),
    ],
)
def test_bad_weights_of_classes_are_refused(class_weight, error, words):
    with pytest.raises(error, match=words):
        Model((5, 7, 2), "tanh", "softmax").fit(X, np.arange(21) % 2, class_weight=class_weight)


def test_what_is_no_class_has_no_weight_of_it():
    with pytest.raises(ValueError, match="class_weight needs targets that are classes"):
        fit(new_model(), class_weight="balanced")


# Going on.


def test_initial_epoch_continues_where_another_model_ended():
    whole, first = new_model(), new_model()
    fit(whole, epochs=5, optimizer=SGD(0.1))
    fit(first, epochs=2, optimizer=SGD(0.1))
    second = new_model(initial=first.parameters)
    history = fit(second, epochs=5, initial_epoch=2, optimizer=SGD(0.1))
    same_bits(second.parameters, whole.parameters)
    assert list(history.epoch) == [3, 4, 5]
    assert second._state.epochs == 5
    fit(second, epochs=1, initial_epoch=0)
    assert second._state.epochs == 1
    for bad in (-1, 5, 1.5):
        with pytest.raises((ValueError, TypeError), match="initial_epoch"):
            fit(second, epochs=5, initial_epoch=bad)


class Snapshots(Callback):
    """After each slice, all that is needed to go on from there: the file of the model, the state of the run."""

    def __init__(self, folder):
        self.folder, self.run, self.states = folder, None, []

    def after_slice(self, state):
        self.states.append(json.dumps(self.run.state_dict(), default=lambda array: {"array": array.tolist()}))
        state.model.save(self.folder / str(len(self.states)))


def arrays(pairs):
    return np.array(pairs["array"]) if set(pairs) == {"array"} else pairs


@pytest.mark.usefixtures("single_steps")
def test_a_run_continues_bit_identically_from_any_of_its_states(tmp_path):
    """Between all its steps: the best parameters were before, or come later; training stops early, or not."""
    options = {
        "epochs": 7, "batch_size": 4, "optimizer": SGD(0.5), "sample_weight": 1.0 + np.arange(21) % 2,
        "validation_fraction": 0.2, "metrics": ("r2",), "initial_epoch": 1,
    }  # fmt: skip

    def prepared(model, *callbacks):
        stopping = EarlyStopping(patience=2)
        given = prepare.Options(FIT_DEFAULTS, {**options, "callbacks": callbacks, "early_stopping": stopping})
        return prepare.prepared(model._problem, model._state, X, Y, given, model), stopping

    whole, snapshots = new_model(dropout=0.3), Snapshots(tmp_path)
    run, stopping = prepared(whole, snapshots)
    snapshots.run = run
    run.go()
    assert 3 <= len(run.history()) < 6, "it stops early"
    assert len(snapshots.states) == run.steps_done
    for number, state in enumerate(snapshots.states, 1):
        model = Model.load(tmp_path / str(number))
        again, its = prepared(model, Callback())
        again.load_state(json.loads(state, object_hook=arrays))
        again.go()
        again.count()
        same_bits(model.parameters, whole.parameters)
        same_bits(model.moments, whole.moments)
        assert (model._state.updates, model._state.epochs) == (whole._state.updates, whole._state.epochs)
        assert (its.best, its.best_epoch) == (stopping.best, stopping.best_epoch)
        found, expected = again.history(), run.history()
        for name in ("cost", "validation_cost", "learning_rate", "epoch"):
            same_bits(getattr(found, name), getattr(expected, name))
        same_bits(found.metrics["r2"], expected.metrics["r2"])
