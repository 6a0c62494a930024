"""Python's operators on symbolic values compute what they compute on numbers, or NumPy's on arrays."""

import operator

import numpy as np
import pytest
from formulas import values_of
from kernel_calls import run, uncached

from fastbp.core.ir.kernel import INT, INTEGERS, POINTERS, VOID, kernel, lanes_of
from fastbp.core.ir.lanes import all_or_none, leading_lanes, only_if
from fastbp.core.ir.traced import bits, from_bits, procedure

ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.and_, operator.or_)
QUOTIENTS = (operator.floordiv, operator.mod)
COMPARISONS = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
OF_LANES = (operator.add, operator.sub, operator.mul, operator.and_, operator.or_, operator.xor)


def test_integers() -> None:
    operators = (*ARITHMETIC, *COMPARISONS, *QUOTIENTS)

    @procedure
    def all_of(out, i, j):
        for slot, operate in enumerate(operators):
            out[slot] = operate(i, j)
        out[len(operators)] = 7 - i
        out[len(operators) + 1] = 7 + i * 3

    @kernel(VOID(INTEGERS, INT, INT))
    def computed(out, i, j):
        all_of(out, i, j)

    computed, out = uncached(computed), np.zeros(len(operators) + 2, np.int64)
    for i in (-5, -1, 0, 1, 12, 2**30):
        for j in (-3, 1, 5, 12, 2**30):
            run(computed, out, i, j)
            wanted = [int(operate(i, j)) for operate in (*ARITHMETIC, *COMPARISONS)]
            assert out[: len(wanted)].tolist() == wanted
            assert out[len(operators) :].tolist() == [7 - i, 7 + i * 3]
            if i >= 0 and j > 0:
                assert out[len(wanted) : len(operators)].tolist() == [i // j, i % j]


def test_lanes_of_integers(size: int) -> None:
    """The bits of floats, combined and shifted; what they give is a float again."""
    formulas = tuple(lambda x, y, f=f: from_bits(f(bits(x), bits(y))) for f in OF_LANES)
    shifts = (lambda x, y: from_bits(bits(x) << 3), lambda x, y: from_bits(bits(x) >> 3))
    x, y = np.random.default_rng(1).normal(size=(2, 130)).astype(f"f{size}")
    i, j = x.view(f"i{size}"), y.view(f"i{size}")
    with np.errstate(over="ignore"):
        wanted = [*(f(i, j) for f in OF_LANES), i << 3, i >> 3]
    for found, bits_wanted in zip(values_of((*formulas, *shifts), x, y), wanted, strict=True):
        exact = ~np.isnan(bits_wanted.view(x.dtype))  # a NaN may become another
        np.testing.assert_array_equal(found.view(i.dtype)[exact], bits_wanted[exact])


@pytest.mark.parametrize("held", [0, 1])
def test_masks_by_a_count_and_by_a_condition(held: int) -> None:
    lanes = lanes_of(8)

    @procedure
    def store_ones(out, count, condition):
        ones = out.filled(lanes, 1.0)
        for row, mask in enumerate(
            (
                leading_lanes(count, lanes),
                all_or_none(condition, lanes),
                only_if(condition, leading_lanes(count, lanes)),
            )
        ):
            (out + row * lanes).store(ones, mask)

    @kernel(VOID(POINTERS[8], INT, INT))
    def stored(out, count, condition):
        store_ones(out, count, condition)

    stored = uncached(stored)
    for count in range(lanes + 1):
        out, first = np.zeros((3, lanes)), np.arange(lanes) < count
        run(stored, out, count, held)
        np.testing.assert_array_equal(out, [first, np.full(lanes, held), first * held])
