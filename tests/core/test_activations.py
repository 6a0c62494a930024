"""Every row of the activations' table, value and derivatives, is the formula of the slow twin."""

import functools

import mpmath as mp
import numpy as np
import twin
from formulas import values_of

from fastbp.core.layers.activation_kernels import ACTIVATIONS

DTYPES = {4: np.float32, 8: np.float64}
TOLERANCE = {4: 2e-5, 8: 1e-13}
PARTS = ("value", "derivative", "second", "third")
VALUES = tuple(lambda z, _, row=row: row.value(z) for row in ACTIVATIONS.values())
SLOPES = tuple(getattr(row, part) for row in ACTIVATIONS.values() for part in PARTS[1:])


def activations_of(z):
    """{name: [σ(z), σ'(z), σ''(z), σ'''(z)]} of every row of the table for a vector z."""
    a = values_of(VALUES, z)
    slopes = [values_of(SLOPES, z, a_i)[3 * i : 3 * i + 3] for i, a_i in enumerate(a)]
    return {name: [a_i, *those] for name, a_i, those in zip(ACTIVATIONS, a, slopes, strict=True)}


def test_every_activation_and_its_derivatives_are_those_of_the_twin(size):
    z = np.random.default_rng(0).normal(size=64, scale=2).astype(DTYPES[size])
    for name, found in activations_of(z).items():
        expected = [formula(z.astype(float)[:, None])[:, 0] for formula in twin.ACTIVATIONS[name]]
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE[size], atol=TOLERANCE[size], err_msg=name)


EXACT = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "tanh": mp.tanh,
    "relu": lambda z: max(z, mp.mpf(0)),
    "leaky_relu": lambda z: max(z, z / 100),
    "elu": lambda z: z if z > 0 else mp.expm1(z),
    "selu": lambda z: mp.mpf("1.05070098735548") * (z if z > 0 else mp.mpf("1.67326324235437728") * mp.expm1(z)),
    "gelu": lambda z: z * mp.ncdf(z),
    "gelu_tanh": lambda z: z / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (z + mp.mpf("0.044715") * z**3))),
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
    "softplus": lambda z: mp.log1p(mp.exp(z)),
    "hard_sigmoid": lambda z: min(max(z / 6 + mp.mpf(1) / 2, mp.mpf(0)), mp.mpf(1)),
    "sin": mp.sin,
    "gaussian": lambda z: mp.exp(-(z**2)),
    "exponential": mp.exp,
}
TAILS = np.array([-1e4, -1000.5, -88.5, -20.25, -12.5, -5.5, -0.25, 0.25, 5.5, 12.5, 20.25, 88.5, 1000.5, 1e4])


@functools.cache
def exact_tails(name):
    with mp.workdps(60):
        return [[mp.diff(EXACT[name], mp.mpf(z), n) for z in TAILS] for n in range(len(PARTS))]


def test_activations_are_stable_in_both_tails(size):
    """Against the definitions and their numerical derivatives in 60 digits."""
    largest, epsilon = float(np.finfo(DTYPES[size]).max), float(np.finfo(DTYPES[size]).eps)
    for name, parts in activations_of(TAILS.astype(DTYPES[size])).items():
        expected = [[float(x) if x < largest else np.inf for x in row] for row in exact_tails(name)]
        for part, errors, found, exact in zip(PARTS, (2, 2, 2, 4), parts, expected, strict=True):
            message = f"{name}: {part}"
            np.testing.assert_allclose(found, exact, rtol=TOLERANCE[size], atol=errors * epsilon, err_msg=message)


def test_activations_of_infinity_are_their_limits_and_nan_stays_nan(size):
    for name, (value, *slopes) in activations_of(np.array([-np.inf, np.inf, np.nan], DTYPES[size])).items():
        assert np.isnan(value[2]), name
        if name != "sin":
            assert not np.isnan([value[:2], *(slope[:2] for slope in slopes)]).any(), name
