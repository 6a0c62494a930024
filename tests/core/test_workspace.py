"""A workspace is as large as a step needs, and no larger than activations, weights and gradients explain."""

import numpy as np
import pytest
from numba import njit

from fastbp import Model, jit
from fastbp.core.workspace import embedded_size, largest_size, shards_of, training_size


@njit
def jitted(net, theta, X, y, gradient, workspace):
    return jit.value_and_gradient(net, theta, X, y, gradient, workspace)


@pytest.mark.parametrize(
    ("sizes", "shards"), [((4, 5, 3), {1}), ((40, 50, 3), {1, 2, 4, 8}), ((700, 100, 3), {1, 2, 4})]
)
def test_one_workspace_serves_all_numbers_of_rows_up_to_its_own(sizes, shards):
    model = Model(sizes)
    net, theta, work = model.compiled(), model.parameters, model.workspace(1500)
    assert {int(shards_of(net, rows)) for rows in range(1, 1501)} == shards
    gradient = np.empty_like(theta)
    rng = np.random.default_rng(0)
    X, y = (rng.normal(size=(1500, n)).astype(theta.dtype) for n in (sizes[0], sizes[-1]))
    for rows in (1, 7, 15, 16, 100, 500, 1023, 1024, 1100, 1499, 1500):
        work[:] = np.nan
        value = jitted(net, theta, X[:rows], y[:rows], gradient, work)
        assert value == model.value_and_gradient(X[:rows], y[:rows])[0]


@pytest.mark.parametrize("sizes", [(4, 5, 3), (40, 50, 3), (700, 100, 3), (1100, 64, 2)])
def test_the_largest_size_has_room_for_every_number_of_rows(sizes):
    net = Model(sizes).compiled()
    room = largest_size(net, 1500)
    assert max(embedded_size(net, rows) for rows in range(1, 1501)) <= room


@pytest.mark.parametrize("sizes", [(4, 5, 3), (40, 50, 3), (700, 100, 3), (1100, 64, 2)])
def test_a_step_needs_more_for_more_examples_and_for_more_workers(sizes):
    net = Model(sizes).compiled()
    for shards in (1, 2):
        needed = [training_size(net, batch, shards, 1) for batch in range(1, 1500)]
        assert needed == sorted(needed)
        workers = [training_size(net, 1500, shards, workers) for workers in range(1, 9)]
        assert workers == sorted(workers)
