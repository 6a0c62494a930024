"""Training follows the slow twin step by step; it reads its rows, writes its workspace, and nothing else."""

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
import twin
from against_twin import assert_close, model_of
from guard import Guard
from kernel_calls import DTYPES, WIDTHS
from networks import KINDS, example

from fastbp import SGD, Adam, AdamW, Model
from fastbp.core.workspace import shards_of


def test_fit_reads_nothing_but_its_rows(size: int, guard: Guard) -> None:
    rng = np.random.default_rng(6)
    for i in range(len(WIDTHS)):
        model, X_all, y_all = example(i, DTYPES[size], rng)
        other = copy.deepcopy(model)
        weight_all = rng.random(len(X_all)).astype(DTYPES[size])
        X, y, weight = (guard.copy(a, writeable=False) for a in (X_all, y_all, weight_all))
        options: dict[str, Any] = {"epochs": 2, "batch_size": 6, "optimizer": ("sgd", "adam")[i % 2]}
        model.fit(X, y, sample_weight=weight, n_threads=1 + i % 3, validation_data=(X, y, weight), **options)
        other.fit(X_all, y_all, sample_weight=weight_all, **options)
        assert (model.parameters == other.parameters).all()
        assert (model.predict(X) == other.predict(X_all)).all()
        assert model.evaluate(X, y, weight) == other.evaluate(X_all, y_all, weight_all)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_fit_stays_inside_the_memory_that_it_asks_for(
    n_threads: int, size: int, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    many = rng.normal(size=(2100, 4)), rng.integers(0, 3, 2100)  # mini-batches of 1,050 rows in shards

    def train(i: int) -> Any:
        model, X, y = example(i, DTYPES[size], np.random.default_rng(i))
        model.l1, model.l2 = (0.0, 0.0) if i % 4 else (0.01, 0.1)
        optimizer = (SGD(), Adam(), AdamW(clip_norm=0.1))[i % 3]
        model.fit(X, y, epochs=2, batch_size=1 + i % 33, optimizer=optimizer, n_threads=n_threads)
        trace = model.forward(X).z + model.backward(X, y).da
        small = Model((4, 80 + i % 20, 3), KINDS[i % 4][0], "softmax", dtype=DTYPES[size], dropout=0.2 * (i % 3))
        assert shards_of(small.compiled(), 1050) > 1
        small.fit(*many, epochs=1, batch_size=1050, n_threads=n_threads)
        large = Model((1025 + i, 64 + i % 3, 3), dtype=DTYPES[size], dropout=0.2 * (i % 3))
        large.fit(np.resize(X, (40, 1025 + i)), np.resize(y, (40, 3)), epochs=1, batch_size=18, n_threads=n_threads)
        return [
            model.parameters,
            small.parameters,
            large.parameters,
            model.value_and_gradient(X, y)[1],
            model.predict(X),
            *trace,
        ]

    for i in range(0, len(WIDTHS), 2 if n_threads < 3 else 5):
        wanted = train(i)
        with monkeypatch.context() as patch:

            def zeros(count: int, dtype: Any) -> np.ndarray:
                return guard.copy(np.zeros(count, dtype))

            for module in ("evaluation", "engine.state", "engine.job", "engine.trace"):
                patch.setattr(f"fastbp.{module}.aligned_zeros", zeros)
            for a, b in zip(train(i), wanted, strict=True):
                assert (a == b).all()
        guard.check()


OPTIMIZERS = {
    "sgd": (SGD(0.05), partial(twin.sgd_step, learning_rate=0.05)),
    "momentum": (SGD(0.02, 0.9), partial(twin.sgd_step, learning_rate=0.02, momentum=0.9)),
    "nesterov": (
        SGD(0.02, 0.9, nesterov=True),
        partial(twin.sgd_step, learning_rate=0.02, momentum=0.9, nesterov=True),
    ),
    "adam": (Adam(0.003), partial(twin.adam_step, learning_rate=0.003)),
    "other adam": (
        Adam(0.01, 0.8, 0.95, 1e-4),
        partial(twin.adam_step, learning_rate=0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-4),
    ),
}
PROBLEMS = {
    "regression": twin.Net((4, 9, 3), "tanh", "identity", "squared_error"),
    "classes": twin.Net((4, 9, 6, 3), "tanh", "softmax", "cross_entropy"),
    "relu": twin.Net((4, 9, 1), "relu", "sigmoid", "binary_cross_entropy"),
    "sum": twin.Net((4, 5, 2), "sigmoid", "sigmoid", "half_squared_error", bias=False, reduction="sum"),
}


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_twenty_steps_are_the_twins(optimizer, kind):
    """Four epochs of 23 examples in batches of 5, the last of 3."""
    net, (ours, step) = PROBLEMS[kind], OPTIMIZERS[optimizer]
    theta, X, y = twin.problem(net, rows=23, classes=kind == "classes")
    model = model_of(net, theta, "float64")
    thetas, costs = twin.trajectory(net, theta, X, y, step, epochs=4, batch_size=5)
    history = model.fit(X, y, epochs=4, batch_size=5, optimizer=ours, shuffle=False)
    assert len(thetas) == 21
    assert np.abs(thetas[-1] - theta).max() > 0.01
    assert_close(model.parameters, thetas[-1], 1e-12, "theta after 20 steps")
    if net.reduction == "mean":
        assert_close(history.cost, costs, 1e-12, "the cost of every epoch")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fits_in_pieces_are_one_trajectory(optimizer):
    """Without a new optimizer, fit continues from the parameters and the optimizer's state."""
    net, (ours, step) = PROBLEMS["regression"], OPTIMIZERS[optimizer]
    theta, X, y = twin.problem(net, rows=23)
    model = model_of(net, theta, "float64")
    thetas, _ = twin.trajectory(net, theta, X, y, step, epochs=4, batch_size=5)
    model.fit(X, y, epochs=1, batch_size=5, optimizer=ours, shuffle=False)
    assert_close(model.parameters, thetas[5], 1e-12)
    model.fit(X, y, epochs=3, batch_size=5, shuffle=False)
    assert_close(model.parameters, thetas[-1], 1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_twenty_weighted_steps_are_the_twins(optimizer, reduction):
    """With the whole set as one batch the average is Σ w_n C_n / Σ w_n, without doubt."""
    net = twin.Net((4, 6, 3), "tanh", "softmax", "cross_entropy", reduction=reduction)
    ours, step = OPTIMIZERS[optimizer]
    theta, X, y = twin.problem(net, rows=12)
    weight = np.arange(12) / 8
    model = model_of(net, theta, "float64")
    thetas, _ = twin.trajectory(net, theta, X, y, step, epochs=20, batch_size=12, sample_weight=weight)
    model.fit(X, y, epochs=20, batch_size=12, optimizer=ours, sample_weight=weight, shuffle=False)
    assert_close(model.parameters, thetas[-1], 1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_twenty_float32_steps_stay_near_the_twins(optimizer):
    net, (ours, step) = PROBLEMS["classes"], OPTIMIZERS[optimizer]
    theta, X, y = twin.problem(net, rows=23)
    model = model_of(net, theta, "float32")
    thetas, costs = twin.trajectory(net, theta, X, y, step, epochs=4, batch_size=5)
    history = model.fit(X, y, epochs=4, batch_size=5, optimizer=ours, shuffle=False)
    assert_close(model.parameters, thetas[-1], 1e-4)
    assert_close(history.cost, costs, 1e-4)
