"""The elementary functions behind activations and losses: their largest error, and their values at the edges.

`pytest -s tests/core/test_elementary.py` prints the table of errors.
"""

import math

import mpmath as mp
import numpy as np
import pytest
from formulas import values_of

from fastbp.core.formulas import elementary

MOST_ULP = 4
DTYPES = {"float32": np.float32, "float64": np.float64}
EXACT = {
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "tanh": mp.tanh,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "erf": mp.erf,
    "sin": mp.sin,
    "cos": mp.cos,
}
LOWEST = {"log": 0.0, "log1p": -1.0}  # the domain begins behind these
FORMULAS = tuple(lambda x, _, name=name: getattr(elementary, name)(x) for name in EXACT)


def functions_of(x):
    return dict(zip(EXACT, values_of(FORMULAS, x), strict=True))


def arguments(dtype):
    """All magnitudes of both signs, more of the usual ones, and the nearest to multiples of π/2 up to 1e5."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    smallest, largest = float(info.smallest_subnormal), float(info.max)
    positive = [
        np.exp(rng.uniform(np.log(smallest), np.log(largest), 40)),
        np.exp(rng.uniform(np.log(1e-4), np.log(800), 120)),
        rng.uniform(0, 5, 100),
        [float(int(k) * mp.pi / 2) for k in rng.integers(1, 63661, 40)],
        [smallest, float(info.smallest_normal), largest],
    ]
    positive = np.concatenate(positive).astype(dtype)
    return np.concatenate([positive, -positive])


def error_in_ulp(found, exact, info):
    """In units of the exact value's last place; an infinity is right where the exact value rounds to it."""
    if math.isnan(found):
        return math.inf
    overflow = mp.mpf(2) ** info.maxexp
    found, exact = (min(max(mp.mpf(x), -overflow), overflow) for x in (found, exact))
    last_place = max(mp.mag(exact) - 1, info.minexp) if exact else info.minexp
    return float(mp.ldexp(abs(found - exact), info.nmant - int(last_place)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_error_is_at_most_4_ulp(dtype):
    x = arguments(DTYPES[dtype])
    lines = []
    for name, values in functions_of(x).items():
        worst, at = 0.0, x[0]
        with mp.workprec(120):
            for x_i, found in zip(x, values, strict=True):
                if x_i > LOWEST.get(name, -np.inf):
                    error = error_in_ulp(float(found), clamped(name, x_i), np.finfo(dtype))
                    worst, at = max((worst, at), (error, x_i), key=lambda pair: pair[0])
        lines.append((name, worst, at))
    print(f"\n{'function':10} {'dtype':8} {'ulp':>5}  at")
    for name, worst, at in lines:
        print(f"{name:10} {dtype:8} {worst:5.2f}  {at!r}")
    assert all(worst <= MOST_ULP for _, worst, _ in lines)


def clamped(name, x):
    """The exact value; beyond ±1e5 that of ±1e5 where the function has become constant, infinite or linear."""
    x = mp.mpf(float(x))
    if name in ("sin", "cos", "log", "log1p") or abs(x) < 1e5:
        return EXACT[name](x)
    return x if name == "softplus" and x > 0 else EXACT[name](mp.sign(x) * 100_000)


INF, NAN = np.inf, np.nan
EDGES = {
    "exp": {-INF: 0.0, INF: INF, -0.0: 1.0},
    "expm1": {-INF: -1.0, INF: INF, -0.0: -0.0},
    "log": {-INF: NAN, -1.0: NAN, -0.0: -INF, 1.0: 0.0, INF: INF},
    "log1p": {-INF: NAN, -1.5: NAN, -1.0: -INF, -0.0: -0.0, INF: INF},
    "tanh": {-INF: -1.0, INF: 1.0, -0.0: -0.0},
    "sigmoid": {-INF: 0.0, INF: 1.0, -0.0: 0.5},
    "softplus": {-INF: 0.0, INF: INF},
    "erf": {-INF: -1.0, INF: 1.0, -0.0: -0.0},
    "sin": {-INF: NAN, INF: NAN, -0.0: -0.0},
    "cos": {-INF: NAN, INF: NAN, -0.0: 1.0},
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_nan_and_signed_zeros_are_right(dtype):
    for i, (name, edges) in enumerate(EDGES.items()):
        x = np.array([*edges, NAN], dtype)
        found, expected = values_of(FORMULAS, x)[i], np.array([*edges.values(), NAN], dtype)
        np.testing.assert_array_equal(found, expected, err_msg=name)
        real = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[real], np.signbit(expected)[real], err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_arguments_of_what_is_x_near_0_are_returned_as_they_are(dtype):
    info = np.finfo(dtype)
    x = info.smallest_subnormal * np.array([1, -1, 3, -1000], dtype)
    found = functions_of(x)
    for name in ("expm1", "log1p", "tanh", "sin"):
        np.testing.assert_array_equal(found[name], x, err_msg=name)


def test_sines_of_large_numbers_are_those_of_the_c_library():
    x = np.array([1e5, 1.0000001e5, -3e7, 1e15, 1e22, 1e300])
    found = functions_of(x)
    np.testing.assert_array_max_ulp(found["sin"], np.array([math.sin(x_i) for x_i in x]), 1)
    np.testing.assert_array_max_ulp(found["cos"], np.array([math.cos(x_i) for x_i in x]), 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_odd_and_stays_between_its_limits(dtype):
    x = np.concatenate([np.linspace(0, 25, 10_000), np.geomspace(1e-30, 1, 1_000)]).astype(dtype)
    y = functions_of(x)["tanh"]
    np.testing.assert_array_equal(functions_of(-x)["tanh"], -y)
    assert y.max() == 1
    assert y.min() == 0
