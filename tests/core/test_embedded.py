"""Calls from users' compiled code stay inside the arrays that they are given, and have the bits of Model's."""

from typing import Any

import numpy as np
from guard import Guard
from kernel_calls import DTYPES, WIDTHS
from networks import example
from numba import njit

from fastbp import jit
from fastbp.core.workspace import embedded_size


@njit
def predict(net: Any, theta: Any, X: Any, out: Any, workspace: Any) -> None:
    jit.predict(net, theta, X, out, workspace)


@njit
def value_and_gradient(net: Any, theta: Any, X: Any, y: Any, gradient: Any, workspace: Any) -> Any:
    return jit.value_and_gradient(net, theta, X, y, gradient, workspace)


def locked(guard: Guard, a: np.ndarray) -> np.ndarray:
    """A copy that Numba takes for a writeable array, on pages that are not."""
    result = guard.copy(a, writeable=False)
    result.flags.writeable = True
    return result


def test_predictions_and_gradients_have_the_bits_of_models_for_every_width(size: int, guard: Guard) -> None:
    rng = np.random.default_rng(5)
    for i in range(len(WIDTHS)):
        model, X_all, y_all = example(i, DTYPES[size], rng)
        wanted = model.predict(X_all)
        wanted_cost, wanted_gradient = model.value_and_gradient(X_all, y_all)
        net = locked(guard, model.compiled(classes=y_all.ndim == 1))
        theta = locked(guard, model.parameters)
        X, y = locked(guard, X_all), locked(guard, y_all)
        out, gradient = guard.empty(wanted.shape, DTYPES[size]), guard.empty(theta.shape, DTYPES[size])
        predict(net, theta, X, out, guard.empty(embedded_size(net, 1), DTYPES[size]))
        work = guard.empty(embedded_size(net, len(X)), DTYPES[size])  # as little as is accepted, of NaN
        cost = value_and_gradient(net, theta, X, y, gradient, work)
        assert (out == wanted).all()
        assert cost == wanted_cost
        assert (gradient == wanted_gradient).all()

        row, of_row = locked(guard, X_all[-1]), guard.empty(wanted.shape[1:], DTYPES[size])
        predict(net, theta, row, of_row, guard.empty(embedded_size(net, 1), DTYPES[size]))
        assert (of_row == wanted[-1]).all()
        assert model.workspace(len(X)).size >= work.size
