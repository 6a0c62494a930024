"""Updates in place give the same descent as updates by a gradient."""

from functools import partial

import numpy as np
import pytest
import twin
from against_twin import assert_close, model_of

from fastbp import SGD, Adam, Model
from fastbp.core import slots
from fastbp.model import FIT_DEFAULTS
from fastbp.training import prepare

WIDE = twin.Net((20, 37, 18, 10), "tanh", "softmax", "cross_entropy")
NARROW = twin.Net((30, 40, 1), "tanh", "identity", "squared_error")
NO_BIAS = twin.Net((4, 9, 2), "tanh", "identity", "squared_error", bias=False, reduction="sum")
FEW = (1, 2, 3, 4)
NEVER = 1e30
"""A norm at which no gradient is clipped, but which has to be compared with all of it."""


def prepared(batch_size, optimizer, **model):
    """A run of an epoch, before it goes."""
    X = np.random.default_rng(0).uniform(-1, 1, (10, 6))
    net = Model((6, 8, 3), **model)
    options = {"epochs": 1, "batch_size": batch_size, "shuffle": False, "optimizer": optimizer}
    return prepare.prepared(net._problem, net._state, X, X[:, :3], prepare.Options(FIT_DEFAULTS, options), net)


def both_ways(sizes, X, y, batch_size, rate, **options):
    """Parameters after two epochs, of steps that add to theta, and of steps by a gradient."""
    dropout = options.pop("dropout", 0.0)
    for optimizer in (SGD(rate), SGD(rate, clip_norm=NEVER)):
        model = Model(sizes, hidden="tanh", dtype=X.dtype, seed=1, dropout=dropout)
        model.fit(X, y, epochs=2, batch_size=batch_size, optimizer=optimizer, **options)
        yield model.parameters


@pytest.mark.parametrize("net", [WIDE, NARROW, NO_BIAS])
@pytest.mark.parametrize("batch_size", FEW)
def test_every_step_is_the_twins(batch_size, net):
    theta, X, y = twin.problem(net, rows=11)
    step = partial(twin.sgd_step, learning_rate=0.03)
    thetas, costs = twin.trajectory(net, theta, X, y, step, 2, batch_size)
    assert np.abs(thetas[-1] - theta).max() > 0.01
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-4)):
        model = model_of(net, theta, dtype)
        history = model.fit(X, y, 2, batch_size, SGD(0.03), shuffle=False)
        assert_close(model.parameters, thetas[-1], tolerance, "theta")
        if net.reduction == "mean":
            assert_close(history.cost, costs, tolerance, "the cost of every epoch")


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sample_weight": np.arange(13.0)}, {"dropout": 0.3}], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_shuffled_weighted_and_dropped_examples_go_down_the_same_way(batch_size, options):
    rng = np.random.default_rng(3)
    X, y = rng.uniform(-1, 1, (13, 6)), rng.uniform(-1, 1, (13, 2))
    at_once, by_gradient = both_ways((6, 20, 7, 2), X, y, batch_size, 0.05, **options)
    assert_close(at_once, by_gradient, 1e-13)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_theta_might_overflow_it_is_made_by_a_gradient_with_the_same_bits(dtype, n_threads):
    largest = {"float32": 1e18, "float64": 1e160}[dtype]
    rng = np.random.default_rng(3)
    X, y = rng.uniform(0.1, 1, (9, 5)).astype(dtype), rng.uniform(-1, 1, (9, 2)).astype(dtype)
    X[::2] *= largest
    at_once, by_gradient = both_ways((5, 7, 2), X[::2], y[::2], 1, 1e-20, n_threads=n_threads, shuffle=False)
    np.testing.assert_array_equal(at_once, by_gradient)
    some, same = both_ways((5, 7, 2), X, y, 1, 1e-20, n_threads=n_threads, shuffle=False)
    assert np.isfinite(some).all()
    assert_close(some, same, 1e-6)


def test_the_gradient_is_kept_only_where_somebody_looks_at_it():
    """By a penalty or clipping; theta is changed without any by plain descent by a few examples."""
    looked_at = [*(prepared(size, SGD(clip_norm=NEVER)) for size in (1, 10)), prepared(1, SGD(), l2=0.1)]
    gone = [*(prepared(1, optimizer) for optimizer in (SGD(momentum=0.5), Adam())), prepared(5, SGD())]
    for run in (*looked_at, *gone, *(prepared(size, SGD()) for size in FEW)):
        before = run.job.theta.copy()
        run.job.gradient[:] = 0.0
        run.go()
        assert run.job.gradient.any() == (run in looked_at)
        assert (run.job.slots[slots.Job.in_place] == 0) == (run in looked_at + gone)
        assert (run.job.theta != before).any()
