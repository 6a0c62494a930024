"""Learning rates are the written formulas, step by step; training follows them over slices, fits and files."""

import math
from functools import partial

import numpy as np
import pytest
import twin
from against_twin import assert_close, model_of

from fastbp import SGD, Adam, Model, NAdam, optimizers
from fastbp.engine.job import Job
from fastbp.optimizers import ScheduledOptimizer
from fastbp.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    OneCycle,
    OnPlateau,
    Progress,
    Step,
)


def half_cosine(x):
    return (1 + math.cos(math.pi * min(x, 1))) / 2


def one_cycle(t, rate, steps, rise=0.3, start=0.04, end=4e-6):
    s = t / steps
    if s < rise:
        return rate * (1 - (1 - start) * half_cosine(s / rise))
    return rate * (end + (1 - end) * half_cosine((s - rise) / (1 - rise)))


FORMULAS = {
    Constant(0.3): lambda t: 0.3,
    Step(0.3, every=7, factor=0.5): lambda t: 0.3 * 0.5 ** (t // 7),
    Exponential(0.3, every=7, factor=0.5): lambda t: 0.3 * 0.5 ** (t / 7),
    Cosine(0.3, steps=30): lambda t: 0.3 * half_cosine(t / 30),
    Cosine(0.3, steps=30, end=0.1): lambda t: 0.1 + 0.2 * half_cosine(t / 30),
    OneCycle(0.3, steps=30): lambda t: one_cycle(t, 0.3, 30),
    OneCycle(0.3, 30, 0.5, 0.1, 0.01): lambda t: one_cycle(t, 0.3, 30, 0.5, 0.1, 0.01),
    InverseScaling(0.3): lambda t: 0.3 / math.sqrt(t + 1),
    InverseScaling(0.3, power=0.9): lambda t: 0.3 / (t + 1) ** 0.9,
    OnPlateau(0.3): lambda t: 0.3,
    Constant(0.3, warm_up=10): lambda t: 0.3 * min(1, (t + 1) / 10),
    Cosine(0.3, 30, warm_up=5): lambda t: 0.3 * half_cosine(t / 30) * min(1, (t + 1) / 5),
    InverseScaling(0.3, warm_up=1): lambda t: 0.3 / math.sqrt(t + 1),
}
NET = twin.Net((4, 6, 3), "tanh", "identity", "squared_error")


def test_every_schedule_has_a_formula_here():
    assert {type(schedule) for schedule in FORMULAS} == set(SCHEDULES.values())


@pytest.mark.parametrize("schedule", FORMULAS, ids=repr)
def test_rates_are_the_written_formula(schedule):
    found = schedule.rates(np.arange(100))
    np.testing.assert_allclose(found, [FORMULAS[schedule](t) for t in range(100)], rtol=1e-13, atol=1e-18)


def test_one_cycle_rises_to_the_rate_and_falls_to_almost_nothing():
    rates = OneCycle(0.3, steps=1000).rates(np.arange(1200))
    assert rates[0] == pytest.approx(0.012)
    assert rates.argmax() == 300
    assert rates[300] == pytest.approx(0.3)
    assert np.all(np.diff(rates[:300]) > 0)
    assert np.all(np.diff(rates[300:1000]) < 0)
    assert set(rates[1000:]) == {rates[1000]}
    assert rates[1000] == pytest.approx(1.2e-6)


@pytest.mark.parametrize("schedule", FORMULAS, ids=repr)
def test_the_numbers_of_a_step_have_the_same_bits_in_every_slice(schedule):
    """Else a training that goes on from a file would not be the same."""
    scheduled = ScheduledOptimizer(NAdam(schedule), Progress(begun=3))
    whole = scheduled.settings(3, 400)
    for begin, end in ((3, 4), (3, 8), (4, 400), (17, 20), (30, 303), (101, 110), (396, 403)):
        np.testing.assert_array_equal(scheduled.settings(begin, end - begin), whole[begin - 3 : end - 3])
    assert scheduled.rate(40) == whole[37, 0]


@pytest.mark.parametrize("schedule", FORMULAS, ids=repr)
def test_fit_follows_the_schedule_through_fits_and_files(schedule, tmp_path):
    theta, X, y = twin.problem(NET, rows=23)
    step = twin.scheduled(partial(twin.sgd_step, momentum=0.5), lambda t: FORMULAS[schedule](t) / 10)
    thetas, _ = twin.trajectory(NET, theta, X, y, step, epochs=8, batch_size=5)
    slower = type(schedule)(**{**vars(schedule), **{name: vars(schedule)[name] / 10 for name in scale(schedule)}})
    model = model_of(NET, theta, "float64")
    model.fit(X, y, epochs=2, batch_size=5, optimizer=SGD(slower, 0.5), shuffle=False)
    assert_close(model.parameters, thetas[10], 1e-12)
    history = model.fit(X, y, epochs=3, batch_size=5, shuffle=False)
    np.testing.assert_allclose(history.learning_rate, [FORMULAS[schedule](t) / 10 for t in (14, 19, 24)], rtol=1e-13)
    model.save(tmp_path / "model")
    model = Model.load(tmp_path / "model")
    assert model.optimizer == SGD(slower, 0.5)
    model.fit(X, y, epochs=3, batch_size=5, optimizer=SGD(slower, 0.5), shuffle=False)
    assert_close(model.parameters, thetas[40], 1e-12)


def scale(schedule):
    """The fields that are learning rates."""
    return ("rate", "end") if isinstance(schedule, Cosine) else ("rate",)


def test_another_schedule_begins_with_its_first_step():
    theta, X, y = twin.problem(NET, rows=20)
    first, second = Step(0.05, every=3), Exponential(0.04, every=5)
    model, expected = model_of(NET, theta, "float64"), model_of(NET, theta, "float64")
    model.fit(X, y, epochs=5, batch_size=20, optimizer=SGD(first))
    model.fit(X, y, epochs=5, batch_size=20, optimizer=SGD(second))
    for schedule in (first, second):
        for rate in schedule.rates(np.arange(5)):
            expected.fit(X, y, epochs=1, batch_size=20, optimizer=SGD(rate))
    np.testing.assert_array_equal(model.parameters, expected.parameters)


def test_a_slice_still_has_many_epochs(monkeypatch):
    runs = []
    prepare = Job.prepare
    monkeypatch.setattr(Job, "prepare", lambda job, *arguments: runs.append(arguments[1]) or prepare(job, *arguments))
    model, X, y = Model((2, 3, 1)), np.ones((8, 2)), np.ones(8)
    model.fit(X, y, epochs=300, batch_size=4, optimizer=Adam(Cosine(0.01, 600)), n_threads=1)
    assert sum(runs) == 600
    assert max(runs) > 2
    runs.clear()
    model.fit(X, y, epochs=30, batch_size=4, optimizer=Adam(OnPlateau(0.01)), n_threads=1)
    assert sum(runs) == 60
    assert max(runs) <= 2, "the cost of every epoch is looked at"


# On plateau.

PLATEAU = OnPlateau(0.2, factor=0.3, patience=2, min_delta=0.01, least=0.001)


def rates_after(costs):
    """The rate of each epoch, as the docstring has it."""
    rates, best, waited, reductions = [], None, 0, 0
    for cost in costs:
        rates.append(max(0.2 * 0.3**reductions, 0.001))
        if best is None or cost < best - 0.01:
            best, waited = cost, 0
        else:
            waited += 1
        if waited == 2:
            waited, reductions = 0, reductions + 1
    return rates


@pytest.mark.parametrize("validation", [True, False])
def test_on_plateau_reduces_after_epochs_without_a_better_cost(validation, tmp_path):
    theta, X, y = twin.problem(NET, rows=23)
    held_out = (X[:9] * 1.5, y[:9] + 0.2) if validation else None
    model, expected = model_of(NET, theta, "float64"), model_of(NET, theta, "float64")
    options = {"batch_size": 5, "validation_data": held_out}
    recorded = []
    callbacks = [lambda state: recorded.append(state.learning_rate)]
    first = model.fit(X, y, epochs=13, optimizer=SGD(PLATEAU), callbacks=callbacks, **options)
    np.testing.assert_array_equal(recorded, first.learning_rate)
    model.save(tmp_path / "model")
    model = Model.load(tmp_path / "model")
    second = model.fit(X, y, epochs=27, optimizer=SGD(PLATEAU), **options)
    kind = "validation_cost" if validation else "cost"
    rates = rates_after([*getattr(first, kind), *getattr(second, kind)])
    assert len(set(rates)) > 3
    assert 0.001 in rates
    for rate in rates:
        expected.fit(X, y, epochs=1, optimizer=SGD(rate), **options)
    np.testing.assert_array_equal(model.parameters, expected.parameters)
    np.testing.assert_array_equal([*first.learning_rate, *second.learning_rate], rates)


@pytest.mark.parametrize("schedule", [PLATEAU, Cosine(0.2, steps=150, warm_up=9)])
def test_an_interrupted_run_continues_with_its_schedule(schedule, tmp_path):
    theta, X, y = twin.problem(NET, rows=23)
    options = {"epochs": 30, "batch_size": 5, "optimizer": SGD(schedule)}
    whole, part = model_of(NET, theta, "float64"), model_of(NET, theta, "float64")
    history = whole.fit(X, y, **options)

    def cut(state):
        if state.epoch == 17:
            raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        part.fit(X, y, checkpoint=tmp_path / "run", callbacks=[cut], **options)
    part = Model.resume(tmp_path / "run")
    resumed = part.fit(X, y, callbacks=[lambda state: None])
    np.testing.assert_array_equal(part.parameters, whole.parameters)
    np.testing.assert_array_equal(resumed.learning_rate, history.learning_rate)
    assert len(set(history.learning_rate)) > 3


def test_a_cost_that_is_not_finite_is_no_epoch_of_a_plateau():
    before = Progress(best=1.0, waited=1)
    assert PLATEAU.after_epoch(before, math.nan) == before
    assert PLATEAU.after_epoch(before, 0.5) == Progress(best=0.5)
    assert PLATEAU.after_epoch(before, 0.995) == Progress(best=1.0, reductions=1)


# Input validation, and files.


def test_the_message_of_a_divergence_names_the_learning_rate_of_its_step():
    X, y = np.ones((8, 2)), np.ones((8, 1))
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 1 \(learning rate 5e\+29\)"):
        Model((2, 1)).fit(X, y, optimizer=SGD(Constant(1e30, warm_up=4)))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *((kind, "rate", -0.1) for kind in SCHEDULES.values()),
        *((kind, "warm_up", -1) for kind in SCHEDULES.values()),
        (Step, "every", 0),
        (Step, "factor", 1.5),
        (Exponential, "every", -3),
        (Exponential, "factor", -0.1),
        (Cosine, "steps", 0),
        (Cosine, "end", 0.2),
        (OneCycle, "steps", 0),
        (OneCycle, "rise", 1.0),
        (OneCycle, "start", -0.1),
        (OneCycle, "end", 2.0),
        (InverseScaling, "power", 0.0),
        (OnPlateau, "factor", 2.0),
        (OnPlateau, "patience", 0),
        (OnPlateau, "min_delta", -1.0),
        (OnPlateau, "least", 0.2),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(kind, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must .*, got {value}$"):
        kind(**{"rate": 0.1, name: value})
    with pytest.raises(TypeError, match=rf"^{name} must .*, got 'much'$"):
        kind(**{"rate": 0.1, name: "much"})


@pytest.mark.parametrize("schedule", FORMULAS, ids=repr)
def test_every_optimizer_is_plain_data_and_back(schedule):
    for kind in optimizers.OPTIMIZERS.values():
        ours = kind(clip_norm=2.0) if kind.full_batch else kind(schedule, clip_norm=2.0)
        data = optimizers.to_dict(ours)
        assert optimizers.from_dict(data) == ours
        for name in data:
            with pytest.raises((KeyError, TypeError, ValueError)):
                optimizers.from_dict({**data, name: "nonsense"})
        data["learning_rate"] = {**optimizers.to_dict(Adam(schedule))["learning_rate"], "unknown": 1}
        with pytest.raises((TypeError, ValueError)):
            optimizers.from_dict(data)
