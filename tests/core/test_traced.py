"""Formulas on vectors are rounded as they stand: selections, IEEE 754 bits, reductions by halves."""

import numpy as np
import pytest
from formulas import values_of
from guard import Guard
from kernel_calls import DTYPES, run, uncached

from fastbp.core.ir.kernel import INT, INTEGERS, POINTERS, VOID, kernel, lanes_of
from fastbp.core.ir.memory import every, load
from fastbp.core.ir.traced import (
    absolute,
    bits,
    from_bits,
    max_lanes,
    maximum,
    minimum,
    multiply_add,
    narrowed,
    rarely,
    select,
    sqrt,
    sum_lanes,
    to_float,
    traced,
    widened,
)

FORMULAS = (
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / y,
    lambda x, y: -x,
    lambda x, y: 2.0 - x,
    lambda x, y: 1.0 / x,
    lambda x, y: absolute(x),
    lambda x, y: sqrt(absolute(x)),
    lambda x, y: maximum(x, y),
    lambda x, y: select(x < y, x, y),
    lambda x, y: select(x != y, x, 7.0),
    lambda x, y: select((x > 0.0) & (y > 0.0), 1.0, y),
    lambda x, y: rarely(x > 1.0, x, lambda: y * 2.0),
    lambda x, y: from_bits(bits(x)),
    lambda x, y: to_float(bits(x) & 255),
    lambda x, y: narrowed(widened(x) * widened(y), x),
)


def expected_of(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The same in NumPy."""
    integers = x.view(f"i{x.itemsize}")
    return [
        x + y,
        x - y,
        x * y,
        x / y,
        -x,
        2 - x,
        1 / x,
        np.abs(x),
        np.sqrt(np.abs(x)),
        np.where(x > y, x, y),
        np.where(x < y, x, y),
        np.where(x != y, x, 7),
        np.where((x > 0) & (y > 0), 1, y),
        np.where(x > 1, y * 2, x),
        x,
        (integers & 255).astype(x.dtype),
        (x.astype("f8") * y.astype("f8")).astype(x.dtype),
    ]


def test_formulas_have_the_bits_of_numpy(size: int) -> None:
    rng = np.random.default_rng(1)
    special = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
    pairs = np.array(np.meshgrid(special, special)).reshape(2, -1)
    x, y = np.concatenate([pairs, rng.normal(size=(2, 300))], axis=1).astype(DTYPES[size])
    with np.errstate(all="ignore"):
        expected = expected_of(x, y)
    for i, (found, wanted) in enumerate(zip(values_of(FORMULAS, x, y), expected, strict=True)):
        np.testing.assert_array_equal(found, wanted, err_msg=f"formula {i}")
        zeros = wanted == 0
        np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(wanted[zeros]), err_msg=f"formula {i}")


def test_a_multiply_add_is_rounded_once_or_twice(size: int) -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 300)).astype(DTYPES[size])
    (found,) = values_of((lambda x, y: multiply_add(x, x, y),), x, y)
    np.testing.assert_allclose(found, x.astype("f8") ** 2 + y, rtol=0, atol=16 * np.finfo(x.dtype).eps)


def by_halves(x: np.ndarray, combine: np.ufunc) -> np.ndarray:
    while len(x) > 1:
        x = combine(x[: len(x) // 2], x[len(x) // 2 :])
    return x[0]


@pytest.mark.parametrize(("reduce", "combine"), [(sum_lanes, np.add), (max_lanes, np.maximum)])
def test_lanes_are_reduced_by_halves(reduce: object, combine: np.ufunc, size: int, guard: Guard) -> None:
    P, lanes, reduced = POINTERS[size], lanes_of(size), traced(reduce)

    @kernel(VOID(P, P))
    def one(out, x):
        out[0] = reduced(load(x, every(lanes)))

    rng, one = np.random.default_rng(1), uncached(one)
    for _ in range(20):
        x = guard.copy(rng.normal(size=lanes), DTYPES[size], writeable=False)
        out = guard.empty(1, DTYPES[size])
        run(one, out, x)
        assert out[0] == by_halves(x, combine)


def test_minimum_and_maximum_of_two_integers() -> None:
    @kernel(VOID(INTEGERS, INT, INT))
    def extremes(out, i, j):
        out[0], out[1] = minimum(i, j), maximum(i, j)

    extremes, out = uncached(extremes), np.zeros(2, np.int64)
    for i in (-(2**40), -1, 0, 3):
        for j in (-1, 0, 2, 2**40):
            run(extremes, out, i, j)
            assert out.tolist() == sorted((i, j))
