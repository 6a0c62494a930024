"""The gradient is clipped by its norm over all parameters, where the norm is exceeded."""

from functools import partial

import numpy as np
import pytest
import twin
from against_twin import model_of
from kernel_calls import DTYPES, EPSILON, WIDTHS

from fastbp import SGD, Model
from fastbp.core import slots
from fastbp.engine.job import Examples, Job

NET = twin.Net((4, 9, 6, 3), "tanh", "softmax", "cross_entropy")


def test_the_gradient_is_clipped_in_some_steps_and_not_in_others():
    """So that the optimizers' trajectories test both; and a norm that is never reached changes no bit."""
    theta, X, y = twin.problem(NET, rows=23)
    norms = []
    step = partial(twin.sgd_step, learning_rate=0.5)
    twin.trajectory(
        NET,
        theta,
        X,
        y,
        lambda t, g, s: norms.append(np.sqrt((g**2).sum())) or twin.clipped(step, 0.4)(t, g, s),
        4,
        5,
    )
    assert min(norms) < 0.4 < max(norms)
    once, again = model_of(NET, theta, "float32"), model_of(NET, theta, "float32")
    once.fit(X, y, epochs=4, batch_size=5, optimizer=SGD(0.1))
    again.fit(X, y, epochs=4, batch_size=5, optimizer=SGD(0.1, clip_norm=1e6))
    np.testing.assert_array_equal(once.parameters, again.parameters)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_a_step_follows_the_gradient_scaled_to_the_norm(bias, n_threads, size):
    """For every width, as input, hidden and output."""
    for width in WIDTHS:
        net = twin.Net((width, 3, width), "tanh", "identity", "squared_error", bias=bias)
        theta, X, y = twin.problem(net, rows=5, seed=width)
        _, gradient = twin.value_and_gradient(net, theta, X, y)
        norm = np.sqrt((gradient**2).sum())
        for limit in (norm / 2, 2 * norm):
            model = model_of(net, theta, DTYPES[size])
            model.fit(X, y, 1, len(X), SGD(1.0, clip_norm=limit), n_threads=n_threads)
            step = min(1, limit / norm) * gradient
            np.testing.assert_allclose(theta - model.parameters, step, rtol=0, atol=EPSILON[size] * np.abs(theta).max())


def test_without_clipping_there_is_no_kernel_for_it():
    model = Model((3, 2))
    examples = Examples(np.zeros((4, 3), "f4"), np.zeros((4, 2), "f4"))
    job = Job(model.compiled(), model.parameters, model.parameters.copy(), examples, 4, 1)
    job.update_by(1, model.parameters.copy())
    assert job.slots[slots.Job.sum_squares] == job.slots[slots.Job.clip] == 0
    job.update_by(1, model.parameters.copy(), 0.5)
    assert job.slots[slots.Job.sum_squares] != 0 != job.slots[slots.Job.clip]
