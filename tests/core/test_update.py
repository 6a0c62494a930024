"""The optimizers' updates change the part of theta that they are given, by the written rule."""

from collections.abc import Callable

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, run

from fastbp import SGD, Adagrad, Adam, AdamW, NAdam, RMSprop, Rprop, optimizers, schedules
from fastbp.core.formulas import optimizers as rules
from fastbp.core.step.update import update

UPDATES: dict[str, tuple[list[float], Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "sgd": ([0.01], lambda g, w: 0.01 * g),
    "momentum": ([0.01, 0.9, 0.0], lambda g, w: 0.01 * g),
    "adam": ([0.01, 0.9, 0.999, 1e-8, 0.1, 0.001], lambda g, w: 0.01 * np.sign(g)),
    "adamw": ([0.01, 0.9, 0.999, 1e-8, 0.1, 0.001, 0.5], lambda g, w: 0.01 * (np.sign(g) + 0.5 * w)),
    "nadam": ([0.01, 0.9, 0.999, 1e-8, 0.1, 0.001, 0.3, 0.7], lambda g, w: 0.01 * (0.3 + 0.7 * 0.1) * np.sign(g)),
    "rmsprop": ([0.01, 0.75, 1e-8], lambda g, w: 0.02 * np.sign(g)),
    "adagrad": ([0.01, 1e-8], lambda g, w: 0.01 * np.sign(g)),
    "rprop": ([0.01, 0.5, 1.2, 1e-6, 50.0, 1.0], lambda g, w: 0.01 * np.sign(g)),
}
"""Settings, and the first step for a gradient and the weights (0 for biases)."""


@pytest.mark.parametrize("name", rules.RULES)
def test_an_update_changes_its_part_of_theta_by_the_written_rule(name: str, size: int, guard: Guard) -> None:
    rng = np.random.default_rng(3)
    kernel, moments = update(name, size), rules.RULES[name].moments
    settings, first_step = UPDATES[name]
    for n in WIDTHS:
        for begin, end in {(0, n), (n // 3, n), (0, n - n // 3), (n // 2, n // 2)}:
            theta = guard.copy(rng.normal(size=n), DTYPES[size])
            before = theta.copy()
            gradient = guard.copy(rng.normal(size=n), DTYPES[size], writeable=False)
            state = guard.copy(np.zeros(moments * n), DTYPES[size])
            numbers = guard.copy(np.array(settings), writeable=False)
            assert run(kernel, theta, gradient, state, n, begin, end, n // 2, numbers) == 0
            inside = np.arange(n)
            inside = (inside >= begin) & (inside < end)
            assert (theta[~inside] == before[~inside]).all()
            step = first_step(gradient, np.where(np.arange(n) < n // 2, before, 0))
            np.testing.assert_allclose(theta[inside], (before - step)[inside], rtol=1e-4, atol=1e-5)
            assert (state.reshape(moments, n)[:, ~inside] == 0).all()
            assert (state.reshape(moments, n)[:, inside] != 0).all()


BY_RULE = {
    optimizer.rule: optimizer
    for optimizer in (SGD(0.1), SGD(0.1, 0.9), Adam(), AdamW(), NAdam(), RMSprop(), Adagrad(), Rprop())
}


@pytest.mark.parametrize("rule", rules.RULES)
def test_an_element_whose_gradient_is_not_finite_keeps_its_value_and_moments(rule, size):
    """In whole vectors and in the remainder; the other elements make their step."""
    rng, n = np.random.default_rng(1), 75
    bad = np.isin(np.arange(n), [0, 5, 17, 18, 40, n - 1])
    gradient, theta, moments = (rng.random((rows, n)).astype(DTYPES[size]) for rows in (1, 1, 2))
    hostile = np.where(bad, np.resize([np.inf, -np.inf, np.nan], n), gradient).astype(DTYPES[size])
    settings = optimizers.ScheduledOptimizer(BY_RULE[rule], schedules.Progress()).settings(3, 1)
    kernel, overflows, results = update(rule, size).ctypes, [], []
    for g in (gradient, hostile):
        changed = np.concatenate([theta, moments])
        overflows.append(kernel(
            changed.ctypes.data, g.ctypes.data, changed[1:].ctypes.data, n, 0, n, n, settings.ctypes.data
        ))  # fmt: skip
        results.append(changed)
    assert overflows == [0, 1]
    np.testing.assert_array_equal(results[1], np.where(bad, np.concatenate([theta, moments]), results[0]), strict=True)
    assert (results[1][0] != theta[0])[~bad].all()
