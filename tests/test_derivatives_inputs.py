"""Derivatives of a Model in its inputs: against each other, against differences, and what they refuse."""

import numpy as np
import pytest

import fastbp

NETWORKS = [
    ((3, 5, 2), "tanh", "identity"),  # from the outputs back: all examples together
    ((40, 33, 17, 10), "gelu", "softmax"),  # example by example
    ((2, 9, 7, 33), "tanh", "softmax"),  # from the inputs on
    ((5, 6, 7, 19), "silu", "sigmoid"),
    ((4, 7, 1), "sin", "identity"),
    ((5, 2), "tanh", "softplus"),
    ((70, 9), "tanh", "softmax"),  # more inputs than there is room for at once
]
ROWS = (1, 3, 7, 130)


def model_of(sizes, hidden, output, dtype="float64", seed=1):
    model = fastbp.Model(sizes, hidden, output, loss="squared_error", dtype=dtype, seed=seed)
    model.parameters += np.random.default_rng(seed).normal(size=model.parameters.size).astype(dtype) * 0.1
    return model


@pytest.fixture(params=NETWORKS, ids=str)
def model(request):
    return model_of(*request.param)


def inputs_of(model, rows):
    return np.random.default_rng(rows).normal(size=(rows, model.network.n_inputs))


def one_at(shape, column):
    """Ones in one column, else zeros."""
    found = np.zeros(shape)
    found[:, column] = 1.0
    return found


# --- the Jacobian ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", ROWS)
def test_columns_of_the_jacobian_are_jvps_and_its_rows_vjps(model, rows):
    X = inputs_of(model, rows)
    jacobian = model.input_jacobian(X)
    n_out, n_in = model.network.n_outputs, model.network.n_inputs
    assert jacobian.shape == (rows, n_out, n_in)
    columns = np.stack([model.jvp(X, one_at(X.shape, k))[1] for k in range(n_in)], axis=2)
    by_rows = np.stack([model.input_gradient(X, one_at((rows, n_out), j)) for j in range(n_out)], axis=1)
    for expected in (columns, by_rows):
        np.testing.assert_allclose(jacobian, expected, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_jacobian_of_float32_numbers_is_that_of_float64(network):
    single, double = model_of(*network, "float32"), model_of(*network)
    double.parameters = single.parameters.astype("float64")
    X = inputs_of(single, 9).astype("float32")
    found, expected = single.input_jacobian(X), double.input_jacobian(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_any_number_of_threads_gives_the_same_bits(model, threads):
    X = inputs_of(model, 2000)
    with fastbp.thread_limit(1):
        alone = model.input_jacobian(X)
    with fastbp.thread_limit(threads):
        together = model.input_jacobian(X)
    np.testing.assert_array_equal(alone, together)
