"""Training takes subnormal numbers for 0, and leaves its caller's arithmetic as it was."""

import platform

import numba
import numpy as np
import pytest

import fastbp
from fastbp import jit

X86 = platform.machine().lower() in ("x86_64", "amd64", "i686")


@pytest.mark.skipif(not X86, reason="only x86 is slow on subnormals")
def test_moments_of_weights_that_get_no_gradient_decay_to_zero_not_into_subnormals():
    rng = np.random.default_rng(0)
    X, y = rng.random((64, 8), np.float32), rng.integers(0, 3, 64)
    model = fastbp.Model((8, 16, 3), output="softmax", seed=0)
    model.fit(X, y, epochs=5, batch_size=64)
    X[:, :4] = 0
    model.fit(X, y, epochs=1500, batch_size=64)
    moments = np.abs(model.moments)
    assert np.all((moments == 0) | (moments >= np.finfo(np.float32).tiny))
    first = moments[: 4 * 16]
    assert np.all(first == 0), "0.9^1500 of a gradient is far below the smallest number"


@numba.njit
def cost_and_small_product(net, theta, X, y, gradient, workspace, small):
    cost = jit.value_and_gradient(net, theta, X, y, gradient, workspace)
    return cost, small * small


def test_the_callers_arithmetic_keeps_its_subnormals():
    model = fastbp.Model((2, 3, 2), output="softmax", seed=0)
    X, y, gradient = np.ones((4, 2), np.float32), np.zeros(4, np.float32), np.empty_like(model.parameters)
    _, product = cost_and_small_product(
        model.compiled(), model.parameters, X, y, gradient, model.workspace(4), np.float32(1e-20)
    )
    assert 0 < product < np.finfo(np.float32).tiny
