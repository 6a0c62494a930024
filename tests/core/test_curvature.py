"""Products with second derivatives on memory between inaccessible pages: one call, all shards."""

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, EPSILON, run

import fastbp
from fastbp.core import workspace
from fastbp.core.derivatives import curvature
from fastbp.core.derivatives.frame import frame_size
from fastbp.engine.derivatives.table import derivative_table

PRODUCTS = {
    "hessian": curvature.hessian_vector_product,
    "gauss_newton": curvature.gauss_newton_vector_product,
}


@pytest.mark.parametrize("rows", [1, 5, 300, 3000])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 17, 2), (16, 1, 33, 8), (40, 33, 65, 3)], ids=str)
@pytest.mark.parametrize("kind", PRODUCTS)
def test_a_single_call_gives_the_bits_of_the_model(kind: str, sizes: tuple, rows: int, size: int, guard: Guard) -> None:
    dtype, rng = DTYPES[size], np.random.default_rng(rows)
    model = fastbp.Model(sizes, "silu", "tanh", loss="log_cosh", dtype=dtype, seed=1, l2=0.1)
    problem = model._problem
    theta, v = (
        guard.copy(array, dtype, writeable=False)
        for array in (model.parameters, rng.normal(size=model.parameters.size))
    )
    X, y = (guard.copy(rng.normal(size=(rows, n)), dtype, writeable=False) for n in (sizes[0], sizes[-1]))
    weights = guard.copy(rng.uniform(0.5, 2, rows), dtype, writeable=False)
    net = derivative_table(model.network, size, problem.objective(False), second=kind == "hessian", curvature=True)
    shards, few = int(workspace.shards_of(net, rows)), int(rows <= workspace.FEW)
    out, memory = guard.empty(theta.size, dtype), guard.empty(int(frame_size(net, rows, 1, 1)), dtype)
    scale = 1 / weights.sum(dtype="f8")
    run(PRODUCTS[kind](size), net, theta, out, X, y, v, weights.ctypes.data, rows, shards, few, scale, memory)
    run(curvature.add_penalty(size), net, out, v)
    wanted = getattr(model, f"{kind}_vector_product")(X, y, v, weights)
    np.testing.assert_array_equal(out, wanted)
    model64 = fastbp.Model(sizes, "silu", "tanh", loss="log_cosh", dtype="float64", l2=0.1)
    model64.parameters[:] = theta
    exact = getattr(model64, f"{kind}_vector_product")(X, y, v, weights)
    np.testing.assert_allclose(out, exact, rtol=0, atol=10 * EPSILON[size] * max(1, abs(exact).max()))
