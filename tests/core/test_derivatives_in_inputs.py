"""Jacobian, Hessian and Taylor kernels on guarded memory: a workspace of exactly the size that they say they need."""

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, EPSILON, run

import fastbp
from fastbp.core.derivatives import hessian, jacobian, jacobian_by_inputs, taylor
from fastbp.engine.derivatives.table import derivative_table

NETWORKS = [
    ((3, 5, 2), "tanh", "identity"),
    ((17, 33, 7, 18), "gelu", "softmax"),
    ((2, 9, 40), "sin", "sigmoid"),
    ((37, 3), "tanh", "softmax"),
    ((1, 1, 1), "silu", "softplus"),
]
ROWS = (1, 5, 40)


@pytest.fixture(params=NETWORKS, ids=str)
def model(request, size):
    return fastbp.Model(*request.param, loss="squared_error", dtype=DTYPES[size], seed=1)


def guarded(guard, model, size, rows, sizes, seed=0):
    """net, theta, x, and a workspace of `sizes(net, rows)` elements."""
    net = derivative_table(model.network, size, second=True, taylor=model.network.output != "softmax")
    x = np.random.default_rng(seed).normal(size=(rows, model.network.n_inputs))
    theta = guard.copy(model.parameters, writeable=False)
    return net, theta, guard.copy(x, DTYPES[size], writeable=False), guard.empty(sizes(net, rows), DTYPES[size])


@pytest.mark.parametrize("rows", ROWS)
def test_jacobians_and_hessians_stay_in_their_memory(size: int, guard: Guard, model, rows) -> None:
    softmax, n_in, n_out = model.network.output == "softmax", model.network.n_inputs, model.network.n_outputs
    for kernel, sizes, shape in [
        (jacobian.by_outputs(size, softmax), jacobian.by_outputs_size, (rows, n_out, n_in)),
        (jacobian.by_deltas(size), jacobian.by_outputs_size, (rows, n_out, n_in)),
        (jacobian.by_outputs_or_deltas(size, softmax), jacobian.by_outputs_size, (rows, n_out, n_in)),
        (jacobian_by_inputs.by_inputs(size, softmax), jacobian_by_inputs.by_inputs_size, (rows, n_out, n_in)),
        (hessian.input_hessian(size, softmax), hessian.hessian_size, (rows, n_out, n_in, n_in)),
    ]:
        for few in (0, 1):
            net, theta, x, workspace = guarded(guard, model, size, rows, sizes)
            out = guard.empty(shape, DTYPES[size])
            run(kernel, net, theta, out, x, rows, few, workspace)
            expected = model.input_hessian(x) if len(shape) == 4 else model.input_jacobian(x)
            atol = EPSILON[size] * max(1, np.abs(expected).max())
            np.testing.assert_allclose(out, expected, rtol=EPSILON[size], atol=atol)
            guard.check()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("rows", ROWS)
def test_taylor_coefficients_stay_in_their_memory(size: int, guard: Guard, model, rows, order) -> None:
    rng, directions, n_out = np.random.default_rng(1), 2, model.network.n_outputs
    net, theta, x, workspace = guarded(guard, model, size, rows, lambda net, rows: taylor.taylor_size(net, rows, order))
    v = guard.copy(rng.normal(size=(directions, *x.shape)), DTYPES[size], writeable=False)
    y, *primed = (guard.empty(shape, DTYPES[size]) for shape in [(rows, n_out), *[(directions, rows, n_out)] * order])
    run(taylor.taylor(size, order), net, theta, y, primed[0], primed[-1], x, v, rows, directions, rows, workspace)
    for found, expected in zip((y, *primed), model.taylor(x, v, order), strict=True):
        np.testing.assert_array_equal(found, expected)
    if order == 2 and model.network.output == "softmax":
        return
    cotangents = [guard.copy(rng.normal(size=each.shape), DTYPES[size], writeable=False) for each in (y, *primed)]
    addresses = [*(c.ctypes.data for c in cotangents), 0][:3]
    gradient = guard.empty(theta.shape, DTYPES[size])
    for shards, few in ((1, int(rows <= 4)), (min(rows, 2), 0), (1, 1)):
        run(
            taylor.taylor_vjp(size, order), net, theta, gradient, x, v, *addresses, rows, directions, rows, shards, few,
            workspace,
        )  # fmt: skip
        expected = model.taylor_vjp(x, v, cotangents)
        np.testing.assert_allclose(gradient, expected, atol=10 * EPSILON[size] * np.abs(expected).max())
