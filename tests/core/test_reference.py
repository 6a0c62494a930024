"""core/reference.py, the loops of the textbook, trains what Model.fit trains."""

import numpy as np
import pytest

from fastbp import SGD, Model
from fastbp.core import reference

SEEDS = {  # the networks that fastbp began with
    "2-3-1": ((2, 3, 1), "sigmoid", "sigmoid"),
    "4-16-3": ((4, 16, 3), "tanh", "identity"),
    "13-32-32-2": ((13, 32, 32, 2), "relu", "identity"),
    "8-70-9-4": ((8, 70, 9, 4), ("tanh", "sigmoid"), "tanh"),
    "5-2": ((5, 2), "relu", "sigmoid"),
}


@pytest.mark.parametrize("batch", [1, 7, 50])
@pytest.mark.parametrize("name", SEEDS)
def test_fifty_steps_of_fit_are_those_of_the_loops(name, batch):
    sizes, hidden, output = SEEDS[name]
    rng, steps = np.random.default_rng(1), 50
    rows = 50
    epochs = -(-steps * batch // rows)
    X, y = rng.normal(size=(rows, sizes[0])), rng.uniform(-0.5, 0.5, size=(rows, sizes[-1]))
    model = Model(sizes, hidden, output, "squared_error", dtype="float64", seed=2)
    weights, biases = [np.array(w, order="C") for w in model.weights], [np.array(b) for b in model.biases]
    before = model.parameters.copy()
    costs = reference.train(weights, biases, model.network.activations, X, y, 0.02, batch, epochs)
    history = model.fit(X, y, epochs=epochs, batch_size=batch, optimizer=SGD(0.02), shuffle=False)
    assert len(costs) >= steps
    assert not np.allclose(model.parameters, before, atol=1e-3)
    for found, expected in zip((*model.weights, *model.biases), (*weights, *biases), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    sizes_of = [min(batch, rows - begin) for begin in range(0, rows, batch)]
    by_epoch = np.average(np.reshape(costs, (epochs, -1)), axis=1, weights=sizes_of)
    np.testing.assert_allclose(history.cost, by_epoch, rtol=1e-12)
