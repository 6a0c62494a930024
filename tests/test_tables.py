"""Every row of the core's tables, value and derivatives, is the formula of the slow twin."""

import numpy as np
import pytest
import reference

from fastbp.core.activations import ACTIVATIONS
from fastbp.core.compile import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.losses import LOSSES
from fastbp.core.memory import every, load, shift, store
from fastbp.core.traced import traced

DTYPES = {4: np.float32, 8: np.float64}
TOLERANCE = {4: 2e-5, 8: 1e-13}
PARTS = ("value", "derivative", "second")


def of_two(formula, name, x, y):
    """The formula of two vectors, for each element of x and y."""
    size = x.itemsize
    lanes, P = lanes_of(size), POINTERS[size]
    of_vectors = traced(formula)

    @kernel(VOID(P, P, P, INT), name, size)
    def elementwise(out, x, y, count):
        wide_vectors()
        for i in range(0, count, lanes):
            value = of_vectors(load(shift(x, i), every(lanes)), load(shift(y, i), every(lanes)))
            store(shift(out, i), value, every(lanes))

    out = np.full_like(x, np.nan)
    elementwise.ctypes(out.ctypes.data, x.ctypes.data, y.ctypes.data, len(x))
    return out


@pytest.mark.parametrize("size", DTYPES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_derivatives_are_those_of_the_twin(name, part, size):
    z = np.random.default_rng(0).normal(size=64, scale=2).astype(DTYPES[size])
    row, twin = ACTIVATIONS[name], reference.ACTIVATIONS[name]
    a = twin.value(z.astype(float)).astype(z.dtype)
    formula = getattr(row, part)
    found = of_two((lambda z, a: formula(z)) if part == "value" else formula, f"test-{name}-{part}", z, a)
    expected = getattr(twin, "first" if part == "derivative" else part)(z.astype(float)[:, None])
    np.testing.assert_allclose(found, np.reshape(expected, z.shape), rtol=TOLERANCE[size], atol=TOLERANCE[size])


@pytest.mark.parametrize("size", DTYPES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_derivatives_are_those_of_the_twin(name, part, size):
    rng = np.random.default_rng(1)
    a, y = rng.uniform(0.1, 0.9, (2, 64)).astype(DTYPES[size])
    found = of_two(getattr(LOSSES[name], part), f"test-{name}-{part}", a, y)
    twin = reference.LOSSES[name]
    columns = a.astype(float)[:, None], y.astype(float)[:, None]
    expected = getattr(twin, "delta" if part == "derivative" else part)(*columns)
    np.testing.assert_allclose(found, np.reshape(expected, a.shape), rtol=TOLERANCE[size])
