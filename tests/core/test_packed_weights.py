"""Packed weights: a copy in panels that gives the sums the bits of those from theta."""

import numpy as np
import pytest
from kernel_calls import DTYPES, panel_addresses, run

from fastbp import Model
from fastbp.core import slots
from fastbp.core.ir.kernel import lanes_of
from fastbp.core.matmul import forms, gemm, packed_weights
from fastbp.core.workspace import MANY, packed_size


def packed_by_numpy(W, size):
    """Panels of the widest tile, their rows padded by zeros to whole vectors."""
    lanes, width, n_out = lanes_of(size), forms.panel_width(size), W.shape[1]
    padded = np.pad(W, ((0, 0), (0, -n_out % lanes)))
    return np.concatenate([padded[:, j : j + width].ravel() for j in range(0, n_out, width)])


def test_the_layout_is_that_of_numpy_also_when_it_is_made_in_parts(size, guard):
    rng = np.random.default_rng(0)
    for n_in, n_out in [(1, 1), (3, 7), (5, 16), (4, 33), (9, 64), (7, 100), (2, 130), (6, 257)]:
        w = guard.copy(rng.normal(size=n_in * n_out), DTYPES[size], writeable=False)
        out = guard.empty(packed_weights.packed_size(n_in, n_out, size), DTYPES[size])
        for low, high in ((0, n_in // 2), (n_in // 2, n_in)):
            run(packed_weights.pack(size), out, w[low * n_out :], n_in, n_out, low, high)
        assert out.tobytes() == packed_by_numpy(w.reshape(n_in, n_out), size).tobytes()


@pytest.mark.parametrize("M", [1, 2, 7, 31])
def test_sums_from_packed_weights_have_the_bits_of_those_from_theta(M, size, guard):
    """Over all inputs, and over a part of them, as of a first layer in halves."""
    rng = np.random.default_rng(M)
    for n_in, n_out in [(1, 5), (9, 16), (20, 33), (12, 64), (17, 100), (30, 130), (3, 257)]:
        panels = panel_addresses(size, (n_out,))
        for low, R in ((0, n_in), (n_in // 2, n_in - n_in // 2)):
            W = rng.normal(size=(n_in, n_out)).astype(DTYPES[size])
            S = guard.copy(rng.normal(size=(M, R)), DTYPES[size], writeable=False)
            V = guard.copy(packed_by_numpy(W, size), writeable=False)
            init = guard.copy(rng.normal(size=n_out), DTYPES[size], writeable=False)
            C, wanted = guard.empty((M, n_out), DTYPES[size]), guard.empty((M, n_out), DTYPES[size])
            run(packed_weights.packed_dense(size), panels, C, n_out, init, S, R, V, n_in, low, M, n_out, R)
            theta = guard.copy(W[low:], writeable=False)
            run(gemm.dense(size), panels, wanted, n_out, 0, init, 0, S, R, 1, theta, n_out, M, n_out, R)
            assert C.tobytes() == wanted.tobytes()


def test_wide_and_odd_layers_are_packed_for_many_examples():
    net = Model((10, 33, 64, 512, 1024, 100, 8)).compiled()
    layers = net[slots.HEADER :].reshape(-1, slots.LAYER_SLOTS)
    assert [bool(offset >= 0) for offset in layers[:, slots.Layer.packed]] == [False, False, True, True, True, False]
    assert packed_size(net, MANY - 1) == 0
    sizes = (packed_weights.packed_size(n_in, n_out, 4) for n_in, n_out in ((64, 512), (512, 1024), (1024, 100)))
    assert packed_size(net, MANY) == net[slots.Net.packed] == sum(sizes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(5, 600, 3), (20, 33, 100, 4), (300, 300, 3)])
def test_rows_together_are_predicted_with_the_bits_of_rows_alone(sizes, dtype):
    """Many rows by packed weights, few from theta."""
    model = Model(sizes, dtype=dtype, seed=1)
    X = np.random.default_rng(0).normal(size=(1000, sizes[0]))
    together = model.predict(X)
    for n in (0, 1, 500, 999):
        np.testing.assert_array_equal(model.predict(X[n : n + 1])[0], together[n], strict=True)
    np.testing.assert_array_equal(model.predict(X[:100]), together[:100])
