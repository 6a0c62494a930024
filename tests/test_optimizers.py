"""Optimizers are the written formulas of the twin: 20 steps in float64 to 1e-12."""

import json
from functools import partial

import numpy as np
import pytest
import twin
from against_twin import assert_close, model_of

from fastbp import SGD, Adagrad, Adam, AdamW, Model, NAdam, RMSprop, Rprop, optimizers, schedules
from fastbp.storage import files
from fastbp.storage.model_state import ABSENT

NET = twin.Net((4, 9, 6, 3), "tanh", "softmax", "cross_entropy")
PLAIN, PENALISED = NET, twin.Net((4, 9, 6, 3), "tanh", "softmax", "cross_entropy", l1=0.01, l2=0.1)
NO_BIAS = twin.Net((4, 9, 3), "tanh", "identity", "squared_error", bias=False, reduction="sum", l1=0.02, l2=0.05)


def decayed(step, **numbers):
    return lambda net: partial(step, decayed=twin.is_weight(net), **numbers)


def of_any(step, **numbers):
    return lambda net: partial(step, **numbers)


OPTIMIZERS = {
    "adamw": (AdamW(0.01, weight_decay=0.3), decayed(twin.adamw_step, learning_rate=0.01, weight_decay=0.3)),
    "other adamw": (
        AdamW(0.02, 0.8, 0.95, 1e-4, 0.1),
        decayed(twin.adamw_step, learning_rate=0.02, weight_decay=0.1, beta_1=0.8, beta_2=0.95, epsilon=1e-4),
    ),
    "nadam": (NAdam(), of_any(twin.nadam_step)),
    "other nadam": (
        NAdam(0.01, 0.7, 0.9, 1e-3, 0.5),
        of_any(twin.nadam_step, learning_rate=0.01, beta_1=0.7, beta_2=0.9, epsilon=1e-3, momentum_decay=0.5),
    ),
    "nadam without momentum": (NAdam(beta_1=0.0), of_any(twin.nadam_step, beta_1=0.0)),
    "rmsprop": (RMSprop(0.003), of_any(twin.rmsprop_step, learning_rate=0.003)),
    "other rmsprop": (RMSprop(0.01, 0.5, 0.1), of_any(twin.rmsprop_step, learning_rate=0.01, rho=0.5, epsilon=0.1)),
    "adagrad": (Adagrad(0.05), of_any(twin.adagrad_step, learning_rate=0.05)),
    "other adagrad": (Adagrad(0.05, 0.2), of_any(twin.adagrad_step, learning_rate=0.05, epsilon=0.2)),
    "rprop": (Rprop(), of_any(twin.rprop_step)),
    "other rprop": (
        Rprop(0.03, 0.4, 1.5, 0.002, 0.2),
        of_any(twin.rprop_step, learning_rate=0.03, shrink=0.4, grow=1.5, least=0.002, most=0.2),
    ),
    "clipped sgd": (SGD(0.5, clip_norm=0.4), lambda net: twin.clipped(partial(twin.sgd_step, learning_rate=0.5), 0.4)),
    "clipped adam": (Adam(clip_norm=0.01), lambda net: twin.clipped(twin.adam_step, 0.01)),
}


def trained(model, X, y, ours, epochs):
    """Mini-batches of 5 where the optimizer takes them."""
    return model.fit(X, y, epochs, len(X) if ours.full_batch else 5, ours, shuffle=False)


@pytest.mark.parametrize("net", [PLAIN, PENALISED, NO_BIAS])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_twenty_steps_are_the_twins(optimizer, net):
    ours, make = OPTIMIZERS[optimizer]
    theta, X, y = twin.problem(net, rows=23)
    batch, epochs = (23, 20) if ours.full_batch else (5, 4)
    thetas, costs = twin.trajectory(net, theta, X, y, make(net), epochs, batch)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-3)):
        model = model_of(net, theta, dtype)
        history = trained(model, X, y, ours, epochs)
        assert len(thetas) == 21
        assert np.abs(thetas[-1] - theta).max() > 0.01
        if dtype == "float64" or not ours.full_batch:  # Rprop turns where g = 0 up to rounding
            assert_close(model.parameters, thetas[-1], tolerance, "theta after 20 steps")
        if net.reduction == "mean":
            assert_close(history.cost, costs, tolerance, "the cost of every epoch")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_saved_model_continues_with_the_optimizers_state(optimizer, tmp_path):
    ours, _ = OPTIMIZERS[optimizer]
    theta, X, y = twin.problem(PENALISED, rows=23)
    whole, part = (model_of(PENALISED, theta, "float64") for _ in range(2))
    costs = trained(whole, X, y, ours, 6).cost
    trained(part, X, y, ours, 4)
    part.save(tmp_path / "model")
    part = Model.load(tmp_path / "model")
    assert (part.optimizer, part.l1, part.l2) == (ours, 0.01, 0.1)
    more = part.fit(X, y, epochs=2, batch_size=23 if ours.full_batch else 5, shuffle=False)
    np.testing.assert_array_equal(part.parameters, whole.parameters)
    np.testing.assert_array_equal(more.cost, costs[4:])


@pytest.mark.parametrize("width", [1, 3, 40])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "nadam", "rmsprop", "adagrad"])
def test_a_moment_that_would_not_be_finite_ends_the_step_as_divergence_does(optimizer, width):
    """The square of a large finite gradient: with v infinite a parameter would never move again."""
    model = Model((1, width), dtype="float32", initial=np.zeros(2 * width))
    X, y, before = np.array([[1e20]]), np.ones((1, width)), model.parameters.copy()
    for learn in (lambda: model.fit(X, y, epochs=1, optimizer=optimizer), lambda: model.step(X, y)):
        with pytest.raises(FloatingPointError, match="the optimizer's state would become NaN or infinite"):
            learn()
        assert np.isfinite(model.moments).all()
        weights = slice(0, width)
        assert model.parameters[weights].tobytes() == before[weights].tobytes()
    X = np.array([[1.0], [2.0]])
    history = model.fit(X, np.repeat(X, width, axis=1), epochs=3000)
    assert history.cost[-1] < 0.2 * history.cost[0]


def test_files_from_before_penalties_clipping_and_schedules_mean_none_of_them(tmp_path):
    model, X, y = Model((2, 3, 1), l1=0.0), np.ones((8, 2)), np.ones(8)
    model.fit(X, y, epochs=3)
    model.save(tmp_path / "model")
    tensors, metadata = files.read(tmp_path / "model")
    description = json.loads(metadata["model"])
    for name in ABSENT:
        del description[name]
    del description["optimizer"]["clip_norm"]
    files.write(tmp_path / "old", tensors, {"model": json.dumps(description)})
    old = Model.load(tmp_path / "old")
    assert (old.l1, old.l2, old.optimizer) == (0.0, 0.0, Adam())
    for each in (model, old):
        each.fit(X, y, epochs=2)
    np.testing.assert_array_equal(old.parameters, model.parameters)


def test_rprop_refuses_batches_that_are_not_the_whole_set():
    model, X, y = Model((2, 3, 1)), np.ones((40, 2)), np.ones(40)
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=r"^batch_size must be 40 or more, all rows, for Rprop, got 39$"):
        model.fit(X, y, batch_size=39, optimizer=Rprop())
    assert model.optimizer == Adam()
    np.testing.assert_array_equal(model.parameters, before)
    assert len(model.fit(X, y, batch_size=1000, optimizer=Rprop())) == 10


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (AdamW, {"weight_decay": -0.1}),
        (AdamW, {"beta_1": 1.0}),
        (NAdam, {"momentum_decay": np.nan}),
        (NAdam, {"beta_2": -0.5}),
        (RMSprop, {"rho": 1.0}),
        (RMSprop, {"epsilon": 0}),
        (Adagrad, {"epsilon": -1.0}),
        (Rprop, {"shrink": 1.1}),
        (Rprop, {"grow": 0.9}),
        (Rprop, {"least": 51.0}),
        (Rprop, {"most": 0.01}),
        (Rprop, {"learning_rate": 100.0}),
        *((make, {"clip_norm": 0.0}) for make in optimizers.OPTIMIZERS.values()),
        (SGD, {"clip_norm": np.inf}),
        (partial(Model, (2, 3)), {"l1": -1e-3}),
        (partial(Model, (2, 3)), {"l2": np.inf}),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(make, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"^(learning_rate|{name}) must .*, got "):
        make(**options)
    with pytest.raises(TypeError, match=rf"^{name} must .*, got '{value}'$"):
        make(**{name: str(value)})


def test_rprop_takes_no_schedule():
    with pytest.raises(TypeError, match=r"^learning_rate must be a number"):
        Rprop(schedules.Constant(0.1))


@pytest.mark.parametrize("beta", [0, 0.5, 0.9, 0.999])
def test_adams_corrections_are_one_minus_powers_that_never_underflow(beta):
    scheduled = optimizers.ScheduledOptimizer(Adam(beta_1=beta, beta_2=beta), schedules.Progress())
    for before in (0, 10_000, 10**9):
        with np.errstate(all="raise"):
            found = scheduled.settings(before, 1000)
        exact = [1 - beta**t for t in range(before + 1, before + 1001)]
        np.testing.assert_allclose(found[:, 4:6], np.column_stack([exact, exact]), rtol=1e-12)
