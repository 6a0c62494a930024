"""Every way through the examples of a mini-batch, blocks, shards or halves, is the step of the slow twin."""

from functools import partial

import numpy as np
import pytest
import twin
from against_twin import assert_close, model_of
from kernel_calls import DTYPES

from fastbp import SGD
from fastbp.core.workspace import halves_of, shards_of

WAYS = {  # sizes, rows of a mini-batch, whether in shards, whether the first layer's weights stay with their owners
    "one example": ((5, 7, 3), 1, False, False),
    "a few examples": ((5, 7, 3), 3, False, False),
    "a part of a block": ((20, 37, 18, 10), 19, False, False),
    "several blocks": ((5, 33, 3), 300, False, False),
    "shards": ((6, 40, 4), 1400, True, False),
    "first layer in halves": ((1100, 64, 2), 20, False, True),
}


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_two_steps_of_weighted_examples_are_the_twins(way, n_threads, size):
    """Of which the second has fewer rows than the first."""
    sizes, batch, shards, halves = WAYS[way]
    net = twin.Net(sizes, "tanh", "softmax", "cross_entropy")
    rows = 2 * batch - batch // 3
    theta, X, y = twin.problem(net, rows, classes=True)
    weights = np.random.default_rng(1).integers(1, 9, rows) / 4
    model = model_of(net, theta, DTYPES[size])
    table = model.compiled()
    assert (shards_of(table, batch) > 1) == shards
    assert (halves_of(table, batch, 1) == 1) == halves
    model.fit(X, y, 1, batch, SGD(0.5), shuffle=False, sample_weight=weights, n_threads=n_threads)
    step = partial(twin.sgd_step, learning_rate=0.5)
    thetas, _ = twin.trajectory(net, theta, X, y, step, 1, batch, weights)
    assert len(thetas) == 3
    assert np.abs(thetas[-1] - theta).max() > 1e-3
    assert_close(model.parameters, thetas[-1], {4: 1e-5, 8: 1e-12}[size], "theta after two steps")


@pytest.mark.parametrize("way", WAYS)
def test_an_order_of_the_rows_is_the_rows_in_that_order(way, size):
    """A shuffled epoch of one mini-batch sums the same examples; theta differs by rounding alone."""
    sizes, batch, *_ = WAYS[way]
    net = twin.Net(sizes, "tanh", "identity", "squared_error")
    theta, X, y = twin.problem(net, batch)
    models = [model_of(net, theta, DTYPES[size]) for _ in range(2)]
    for model, shuffle in zip(models, (False, True), strict=True):
        model.fit(X, y, 1, batch, SGD(0.1), shuffle=shuffle)
    assert_close(models[1].parameters, models[0].parameters, {4: 1e-5, 8: 1e-12}[size])
