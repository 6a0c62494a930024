"""`Model.step` is bit-identical to `fit` of one mini-batch, whatever came before it."""

import copy
import pickle
import weakref
from itertools import pairwise

import numpy as np
import pytest

import fastbp
from fastbp import optimizers
from fastbp.training import single_step

RNG = np.random.default_rng(5)
X, CLASSES = RNG.normal(size=(40, 5)), RNG.integers(0, 3, 40)
ROWS = np.eye(3)[CLASSES]
NUMBERS = np.tanh(X @ RNG.normal(size=(5, 3)))
WEIGHTS = RNG.uniform(0, 2, 40)
OPTIMIZERS = {
    "adam": fastbp.Adam(0.01),
    "sgd": fastbp.SGD(0.05),
    "nesterov": fastbp.SGD(0.05, momentum=0.9, nesterov=True),
    "adamw, clipped": fastbp.AdamW(0.01, clip_norm=0.1),
    "rprop": fastbp.Rprop(),
    "falling": fastbp.Adam(fastbp.schedules.Exponential(0.05, every=3, factor=0.5, warm_up=2)),
    "plateau": fastbp.SGD(fastbp.schedules.OnPlateau(5.0, patience=1)),
}
MODELS = {
    "classes": ({"output": "softmax"}, CLASSES),
    "rows": ({"output": "softmax", "label_smoothing": 0.1}, ROWS),
    "smoothed classes": ({"output": "softmax", "label_smoothing": 0.1, "dtype": "float64"}, CLASSES),
    "numbers": (
        {"hidden": "tanh", "loss": "squared_error", "reduction": "sum", "dtype": "float64", "l2": 0.01},
        NUMBERS,
    ),
    "dropout": ({"output": "softmax", "dropout": 0.25}, CLASSES),
}


def model_of(**arguments):
    return fastbp.Model((5, 7, 3), seed=2, **arguments)


def fitted(model, rows, y, **arguments):
    """The cost of fit's epoch of one mini-batch."""
    return float(model.fit(X[rows], y[rows], 1, len(X[rows]), shuffle=False, **arguments).cost[0])


def assert_same(model, other):
    assert np.array_equal(model.parameters, other.parameters)
    assert np.array_equal(model.moments, other.moments)
    for name in ("updates", "epochs", "schedule", "optimizer"):
        assert getattr(model._state, name) == getattr(other._state, name), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(("arguments", "y"), MODELS.values(), ids=MODELS)
def test_steps_are_fits_of_one_mini_batch(arguments, y, optimizer):
    model, other = model_of(**arguments), model_of(**arguments)
    for begin, end in pairwise([0, 8, 16, 24, 25, 40, 40 + 8]):
        rows = slice(begin % 40, begin % 40 + end - begin)
        before = model.parameters.copy()
        cost = model.step(X[rows], y[rows], optimizer=optimizer)
        assert cost == fitted(other, rows, y, optimizer=optimizer)
        assert not np.array_equal(model.parameters, before)
        assert_same(model, other)


def test_weights_may_come_and_go():
    model, other = model_of(output="softmax"), model_of(output="softmax")
    for weights in (None, WEIGHTS, 2 * WEIGHTS, None):
        cost = model.step(X, CLASSES, weights)
        assert cost == fitted(other, slice(None), CLASSES, sample_weight=weights)
        assert_same(model, other)


def test_signed_weights_are_for_sums():
    """A step by their gradient; where they would divide, or metrics are taken, the refusal names the way."""
    signed = np.where(np.arange(40) % 3, 1.0, -2.0) * WEIGHTS
    for optimizer in (fastbp.SGD(0.01), fastbp.SGD(0.01, clip_norm=1.0)):
        model = model_of(output="softmax", reduction="sum", dtype="float64")
        before, (cost, gradient) = model.parameters.copy(), model.value_and_gradient(X, CLASSES, signed)
        assert model.step(X, CLASSES, signed, optimizer) == cost
        gradient *= 1 if optimizer.clip_norm is None else 1 / np.linalg.norm(gradient)
        np.testing.assert_allclose(model.parameters, before - 0.01 * gradient, rtol=1e-12)
    mean = model_of(output="softmax")
    calls = {
        method: (lambda of, method=method, **more: getattr(of, method)(X, CLASSES, sample_weight=signed, **more))
        for method in ("step", "value_and_gradient", "backward", "fit", "evaluate", "check_gradient")
    }
    for method, call in calls.items():
        for of in (mean,) if method not in ("fit", "evaluate") else (mean, model):
            with pytest.raises(ValueError) as caught:
                call(of)
            assert str(caught.value).startswith(
                'sample_weight must not be negative (Model(reduction="sum") takes signs in step, value_and_gradient '
                "and backward), got "
            )


def test_signed_weights_may_have_the_sum_zero_but_not_all_be_zero():
    model = model_of(output="softmax", reduction="sum")
    balanced = np.tile([1.0, -1.0], 20)
    before = model.parameters.copy()
    model.step(X, CLASSES, balanced)
    assert not np.array_equal(model.parameters, before)
    with pytest.raises(ValueError, match="sample_weight must not be all zero"):
        model.step(X, CLASSES, np.zeros(40))


# A gradient of one's own ---------------------------------------------------------------------------------------------

EVERY = {
    **OPTIMIZERS,
    **{name: kind(clip_norm=0.3) for name, kind in optimizers.OPTIMIZERS.items()},
    **{f"{name}, not clipped": kind() for name, kind in optimizers.OPTIMIZERS.items()},
}
PENALISED = {
    "mean": ({"output": "softmax", "l1": 0.01, "l2": 0.1}, CLASSES),
    "sum, without biases": ({"hidden": "tanh", "loss": "huber", "reduction": "sum", "bias": False}, NUMBERS),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", EVERY.values(), ids=EVERY)
def test_a_step_by_the_models_own_gradient_is_bit_identical_to_step(optimizer, dtype):
    """50 of them, also where 4 examples or fewer go another way, but plain gradient descent."""
    for arguments, y in PENALISED.values():
        model, other = (model_of(dtype=dtype, **arguments) for _ in range(2))
        in_place = optimizer.rule == "sgd" and optimizer.clip_norm is None and not model.l2
        for n in range(50):
            rows = slice(n % 7, n % 7 + (5 if in_place else 3) + n % 4)
            cost, gradient = model.value_and_gradient(X[rows], y[rows])
            kept = gradient.copy()
            model.apply_gradient(gradient, cost, optimizer)
            np.testing.assert_array_equal(gradient, kept)
            assert other.step(X[rows], y[rows], optimizer=optimizer) == pytest.approx(cost, rel=1e-14)
            progress = model._state.schedule, other._state.schedule
            if model._state.schedule.best is not None:  # of a cost that was divided by the weights and multiplied again
                assert progress[0].best == pytest.approx(progress[1].best, rel=1e-14)
                model._state.schedule = other._state.schedule = progress[1]
            assert_same(model, other)
        assert (model._state.updates, model._state.epochs) == (50, 50)


def test_plain_descent_by_a_few_examples_is_step_but_for_rounding():
    model, other = (model_of(output="softmax", dtype="float64") for _ in range(2))
    for n in range(50):
        _, gradient = model.value_and_gradient(X[n % 9 : n % 9 + 3], CLASSES[n % 9 : n % 9 + 3])
        model.apply_gradient(gradient, optimizer=fastbp.SGD(0.05))
        other.step(X[n % 9 : n % 9 + 3], CLASSES[n % 9 : n % 9 + 3], optimizer=fastbp.SGD(0.05))
    np.testing.assert_allclose(model.parameters, other.parameters, rtol=1e-12, atol=1e-14)


def test_a_gradient_that_is_brought_is_followed_without_penalties_and_dropout():
    model = model_of(output="softmax", l1=0.5, l2=0.5, dropout=0.5, dtype="float64")
    before, gradient = model.parameters.copy(), np.linspace(-1, 1, model.parameters.size)
    for brought in (gradient, gradient.tolist(), gradient.astype("float32")):
        model.parameters = before
        model.apply_gradient(brought, optimizer=fastbp.SGD(0.1))
        np.testing.assert_allclose(model.parameters, before - 0.1 * np.asarray(brought, "f8"), rtol=1e-15, atol=1e-17)


def test_large_layers_are_clipped_and_updated_whole():
    model, other = (fastbp.Model((300, 200, 70), seed=3) for _ in range(2))
    inputs, y = RNG.normal(size=(33, 300)), RNG.normal(size=(33, 70))
    for _ in range(5):
        _, gradient = model.value_and_gradient(inputs, y)
        model.apply_gradient(gradient, optimizer=fastbp.AdamW(clip_norm=0.01))
        other.step(inputs, y, optimizer=fastbp.AdamW(clip_norm=0.01), n_threads=2)
    assert_same(model, other)


def test_steps_fits_and_gradients_go_on_with_one_state():
    model, other = model_of(output="softmax"), model_of(output="softmax")
    for _ in range(3):
        model.apply_gradient(model.value_and_gradient(X[:8], CLASSES[:8])[1])
        other.step(X[:8], CLASSES[:8])
        for either in (model, other):
            either.step(X[8:16], CLASSES[8:16])
            either.fit(X, CLASSES, 1, 16)
        assert_same(model, other)


def test_on_plateau_needs_the_cost():
    model, optimizer = model_of(output="softmax"), fastbp.SGD(fastbp.schedules.OnPlateau(0.1, patience=2, factor=0.5))
    gradient = np.ones_like(model.parameters)
    with pytest.raises(ValueError, match="cost must be given with the gradient because OnPlateau needs it"):
        model.apply_gradient(gradient, optimizer=optimizer)
    assert model._state.updates == 0
    steps = []
    for cost in (3.0, 2.0, 2.0, 2.5, 1.0):
        before = model.parameters.copy()
        model.apply_gradient(gradient, cost, optimizer)
        steps.append(float((before - model.parameters).mean()))
    assert steps == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05], rel=1e-4)
    assert (model._state.schedule.best, model._state.schedule.reductions) == (1.0, 1)


def test_a_step_that_diverges_keeps_the_last_finite_parameters_and_counts():
    model = model_of(output="softmax")
    gradient = np.zeros_like(model.parameters)
    gradient[3], gradient[5] = 1e38, 1.0
    before = model.parameters.copy()
    message = r"^training diverged: a parameter or .* would become NaN or infinite in step 1 \(learning rate 100\)"
    with pytest.raises(FloatingPointError, match=message):
        model.apply_gradient(gradient, optimizer=fastbp.SGD(100.0))
    assert np.flatnonzero(model.parameters != before).tolist() == [5]
    assert model._state.updates == 1
    model.apply_gradient(np.sign(gradient))
    assert np.isfinite(model.parameters).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda g: (g[:-1],), ValueError, r"gradient must have shape \(66,\), got shape \(65,\)"),
        (lambda g: (g[None],), ValueError, r"gradient must have shape \(66,\), got shape \(1, 66\)"),
        (lambda g: (g * np.nan,), ValueError, "gradient must be finite, got nan at index 0"),
        (lambda g: (np.full(66, 1e300),), ValueError, r"gradient must fit in float32, got 1e\+300 at index 0"),
        (lambda g: (g.astype(complex),), TypeError, "gradient must hold real numbers"),
        (lambda g: (None,), TypeError, "gradient must hold real numbers"),
        (lambda g: (g, np.nan), ValueError, "cost must lie in"),
        (lambda g: (g, "1"), TypeError, "cost must be a number"),
        (lambda g: (g, None, "adams"), ValueError, "optimizer must be one of .* 'adam'"),
    ],
)
def test_wrong_gradients_change_nothing(arguments, error, message):
    model, other = model_of(output="softmax"), model_of(output="softmax")
    model.step(X, CLASSES)
    fitted(other, slice(None), CLASSES)
    with pytest.raises(error, match=message):
        model.apply_gradient(*arguments(np.ones(66, "f4")))
    assert_same(model, other)


def test_predictions_may_be_taken_at_other_parameters():
    model = model_of(output="softmax")
    theta, before = model.parameters + np.float32(0.1), model.parameters.copy()
    found = model.predict(X, theta)
    assert not np.array_equal(found, model.predict(X))
    np.testing.assert_array_equal(model.parameters, before)
    model.parameters = theta
    np.testing.assert_array_equal(model.predict(X), found)
    np.testing.assert_array_equal(model.predict(X[:1], theta=theta.tolist()), found[:1])
    with pytest.raises(ValueError, match=r"theta must have shape \(66,\), got shape \(3,\)"):
        model.predict(X, theta[:3])


def test_the_cost_is_that_before_the_update():
    model = model_of(hidden="tanh", loss="squared_error", dtype="float64")
    expected = model.evaluate(X, NUMBERS)["cost"]
    assert model.step(X, NUMBERS) == pytest.approx(expected, rel=1e-12)
    assert model.evaluate(X, NUMBERS)["cost"] < expected


def test_the_arrays_may_change_in_place():
    model, other = model_of(output="softmax"), model_of(output="softmax")
    inputs = X[:8].astype("float32")
    for n in range(3):
        inputs[:] = X[n : n + 8]
        model.step(inputs, CLASSES[n : n + 8])
        fitted(other, slice(n, n + 8), CLASSES)
    assert_same(model, other)


def test_fit_and_other_optimizers_may_come_between():
    model, other = model_of(output="softmax"), model_of(output="softmax")
    for optimizer in ("adam", None, fastbp.SGD(0.1, momentum=0.5), None, "adam", fastbp.Adam(0.01), None):
        model.step(X[:8], CLASSES[:8], optimizer=optimizer)
        fitted(other, slice(8), CLASSES, optimizer=optimizer)
        for either in (model, other):
            either.fit(X, CLASSES, 2, 16)
        assert_same(model, other)
    for either in (model, other):
        either.fit(X, CLASSES, 1, 16, optimizer=fastbp.SGD(0.1))
        either.parameters = np.linspace(-1, 1, either.parameters.size)
    model.step(X[:8], CLASSES[:8], optimizer="adam")
    fitted(other, slice(8), CLASSES, optimizer="adam")
    assert_same(model, other)


def test_what_is_changed_in_the_model_counts_at_once():
    model, other = model_of(output="softmax", dropout=0.25), model_of(output="softmax", dropout=0.25)
    changes = {"seed": 7, "dropout": (0.5,), "l2": 0.1, "reduction": "sum", "label_smoothing": 0.2, "l1": 0.01}
    for name, value in changes.items():
        for either in (model, other):
            setattr(either, name, value)
        model.step(X[:8], CLASSES[:8])
        fitted(other, slice(8), CLASSES)
        assert_same(model, other)


def test_what_a_step_needs_is_kept_for_the_next_of_its_size():
    model = model_of(output="softmax")
    model.step(X[:8], CLASSES[:8])
    job = model._single_steps.stepper.job
    model.step(X[8:16], CLASSES[8:16])
    model.step(X[8:16], CLASSES[8:16], optimizer=fastbp.Adam())
    assert model._single_steps.stepper.job is job
    model.step(X[:9], CLASSES[:9])
    assert model._single_steps.stepper.job is not job


def test_neither_the_callers_arrays_nor_large_memory_are_kept(monkeypatch):
    model = model_of(output="softmax")
    inputs, classes = X[:8].astype("float32"), CLASSES[:8].astype("float32")
    kept = weakref.ref(inputs), weakref.ref(classes)
    model.step(inputs, classes)
    del inputs, classes
    assert [reference() for reference in kept] == [None, None]
    job = model._single_steps.stepper.job
    monkeypatch.setattr(single_step, "KEPT_BYTES", job.workspace.nbytes + job.gradient.nbytes - 1)
    model.step(X[:8], CLASSES[:8])
    assert model._single_steps.stepper is None


@pytest.mark.parametrize("rows", [1, 7, 200])
def test_any_number_of_threads_gives_the_same_bits(rows):
    inputs, y = RNG.normal(size=(rows, 64)), RNG.integers(0, 4, rows)
    one, two = (fastbp.Model((64, 100, 100, 4), output="softmax", seed=1) for _ in range(2))
    for _ in range(3):
        costs = [one.step(inputs, y, n_threads=1), two.step(inputs, y, n_threads=2)]
        assert costs[0] == costs[1]
    assert np.array_equal(one.parameters, two.parameters)


def test_a_copy_continues_bit_identically():
    model = model_of(output="softmax")
    model.step(X[:8], CLASSES[:8])
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    model.step(X[:8], CLASSES[:8])
    for other in copies:
        other.step(X[:8], CLASSES[:8])
        assert_same(model, other)


def test_divergence_keeps_the_last_finite_parameters():
    model = model_of(hidden="identity", loss="squared_error")
    large = fastbp.SGD(1e15)
    model.step(X, NUMBERS, optimizer=large)
    with pytest.raises(FloatingPointError, match=r"training diverged: .* in step 2 \(learning rate 1e\+15\)"):
        model.step(X, NUMBERS, optimizer=large)
    assert np.isfinite(model.parameters).all()
    model.parameters = np.zeros_like(model.parameters)
    assert np.isfinite(model.step(X, NUMBERS, optimizer="adam"))


def test_ctrl_c_leaves_what_was_learned_counted(monkeypatch):
    model, other = model_of(output="softmax"), model_of(output="softmax")

    def interrupted(*arguments):
        run_once(*arguments)
        raise KeyboardInterrupt

    run_once = single_step.run_once
    monkeypatch.setattr(single_step, "run_once", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.step(X, CLASSES)
    monkeypatch.setattr(single_step, "run_once", run_once)
    fitted(other, slice(None), CLASSES)
    assert (model._state.updates, model._single_steps.stepper) == (1, None)
    model.step(X, CLASSES)
    fitted(other, slice(None), CLASSES)
    assert_same(model, other)


def test_ctrl_c_may_come_while_the_step_is_counted(monkeypatch):
    model, other, count, calls = model_of(output="softmax"), model_of(output="softmax"), single_step.Stepper._count, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        count(*arguments)

    monkeypatch.setattr(single_step.Stepper, "_count", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.step(X, CLASSES)
    fitted(other, slice(None), CLASSES)
    assert_same(model, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[:, :4], CLASSES), "X must have 5 columns"),
        ((X, CLASSES[:-1]), "y must have 40 rows"),
        ((X, CLASSES, -WEIGHTS), "sample_weight must"),
        ((X, CLASSES, None, "adams"), "optimizer must be one of .* 'adam'"),
        ((X, CLASSES, None, None, 0), "n_threads must be"),
    ],
)
def test_wrong_arguments_change_nothing(arguments, message):
    model, other = model_of(output="softmax"), model_of(output="softmax")
    model.step(X, CLASSES)
    fitted(other, slice(None), CLASSES)
    with pytest.raises(ValueError, match=message):
        model.step(*arguments)
    assert_same(model, other)
    model.step(X, CLASSES)
    fitted(other, slice(None), CLASSES)
    assert_same(model, other)


def test_a_resumed_run_goes_on_in_fit_first(tmp_path):
    model_of(output="softmax").fit(X, CLASSES, 2, checkpoint=tmp_path / "run")
    model = fastbp.Model.resume(tmp_path / "run")
    with pytest.raises(ValueError, match="the model was resumed: call fit, which goes on with its run, before step"):
        model.step(X, CLASSES)
    with pytest.raises(ValueError, match=r"the model was resumed: call fit, .* before apply_gradient"):
        model.apply_gradient(np.ones_like(model.parameters))
    model.fit(X, CLASSES, 2)
    assert np.isfinite(model.step(X, CLASSES))
