"""Every rule is the written formula of the slow twin, step by step, for any gradients."""

from functools import partial

import numpy as np
import pytest
import twin
from guard import Guard
from kernel_calls import DTYPES, run

from fastbp import SGD, Adagrad, Adam, AdamW, NAdam, RMSprop, Rprop, optimizers, schedules
from fastbp.core.formulas.optimizers import RULES
from fastbp.core.step.update import update

WEIGHTS, N, STEPS = 50, 75, 8
IS_WEIGHT = np.arange(N) < WEIGHTS
STEPS_OF = {
    "sgd": (SGD(0.1), partial(twin.sgd_step, learning_rate=0.1)),
    "momentum": (SGD(0.1, 0.9), partial(twin.sgd_step, learning_rate=0.1, momentum=0.9)),
    "adam": (Adam(0.01), partial(twin.adam_step, learning_rate=0.01)),
    "adamw": (
        AdamW(0.01, weight_decay=0.3),
        partial(twin.adamw_step, decayed=IS_WEIGHT, learning_rate=0.01, weight_decay=0.3),
    ),
    "nadam": (NAdam(0.01), partial(twin.nadam_step, learning_rate=0.01)),
    "rmsprop": (RMSprop(0.01), partial(twin.rmsprop_step, learning_rate=0.01)),
    "adagrad": (Adagrad(0.01), partial(twin.adagrad_step, learning_rate=0.01)),
    "rprop": (Rprop(), twin.rprop_step),
}


@pytest.mark.parametrize("rule", RULES)
def test_steps_are_the_twins(rule: str, size: int, guard: Guard) -> None:
    optimizer, step = STEPS_OF[rule]
    rng = np.random.default_rng(1)
    settings = optimizers.ScheduledOptimizer(optimizer, schedules.Progress()).settings(0, STEPS)
    theta = guard.copy(rng.normal(size=N), DTYPES[size])
    moments = guard.copy(np.zeros(RULES[rule].moments * N), DTYPES[size])
    expected, state = theta.astype("f8"), None
    for row in settings:
        gradient = guard.copy(rng.normal(size=N), DTYPES[size], writeable=False)
        numbers = guard.copy(row, writeable=False)
        assert run(update(rule, size), theta, gradient, moments, N, 0, N, WEIGHTS, numbers) == 0
        expected, state = step(expected, gradient.astype("f8"), state)
        np.testing.assert_allclose(theta, expected, rtol={4: 1e-4, 8: 1e-12}[size], atol={4: 1e-5, 8: 1e-13}[size])
