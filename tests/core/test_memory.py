"""Loads, stores and reductions touch the elements that they name, and no others."""

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, run, uncached

from fastbp.core.ir.kernel import DOUBLE, INT, INTEGERS, POINTERS, VOID, kernel, lanes_of
from fastbp.core.ir.memory import copy, fill, first, gather, load, not_finite, store, total


def test_masked_loads_and_stores_touch_the_first_elements_alone(size: int, guard: Guard) -> None:
    P, lanes = POINTERS[size], lanes_of(size)

    @kernel(VOID(P, P, INT))
    def copy_first(out, x, count):
        mask = first(count, lanes)
        store(out, load(x, mask), mask)

    copy_first = uncached(copy_first)
    for count in range(lanes + 1):
        x = guard.copy(np.arange(count), DTYPES[size], writeable=False)
        out = guard.empty(count, DTYPES[size])
        run(copy_first, out, x, count)
        np.testing.assert_array_equal(out, x)
        longer = guard.empty(lanes, DTYPES[size])
        run(copy_first, longer, x, count)
        assert np.isnan(longer[count:]).all()


def test_lanes_that_are_off_are_loaded_as_0(size: int, guard: Guard) -> None:
    P, lanes = POINTERS[size], lanes_of(size)

    @kernel(VOID(P, P, INT))
    def widen(out, x, count):
        store(out, load(x, first(count, lanes)), first(lanes, lanes))

    widen = uncached(widen)
    for count in range(lanes + 1):
        out = guard.empty(lanes, DTYPES[size])
        run(widen, out, guard.copy(np.ones(count), DTYPES[size], writeable=False), count)
        np.testing.assert_array_equal(out, np.arange(lanes) < count)


def test_fill_makes_all_lanes_one_number(size: int, guard: Guard) -> None:
    P, lanes = POINTERS[size], lanes_of(size)

    @kernel(VOID(P, DOUBLE))
    def filled(out, number):
        store(out, fill(out, number, lanes), first(lanes, lanes))

    out = guard.empty(lanes, DTYPES[size])
    run(uncached(filled), out, 0.1)
    assert (out == np.dtype(DTYPES[size]).type(0.1)).all()


def test_a_copy_has_every_element_for_every_length(size: int, guard: Guard) -> None:
    P, lanes = POINTERS[size], lanes_of(size)

    @kernel(VOID(P, P, INT))
    def copied(out, x, count):
        copy(out, x, count, lanes)

    copied = uncached(copied)
    for count in (0, *WIDTHS):
        x, out = guard.copy(np.arange(count), DTYPES[size], writeable=False), guard.empty(count, DTYPES[size])
        run(copied, out, x, count)
        np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("gap", [0, 3])
def test_gather_copies_the_rows_of_an_order(gap: int, size: int, guard: Guard) -> None:
    P, lanes = POINTERS[size], lanes_of(size)

    @kernel(VOID(P, INT, P, INT, INT, INTEGERS, INT))
    def gathered(out, o_row, x, x_row, columns, order, rows):
        gather(out, o_row, x, x_row, columns, order, rows, lanes)

    gathered, rng = uncached(gathered), np.random.default_rng(gap)
    for columns in WIDTHS:
        x = guard.copy(rng.normal(size=(9, columns)), DTYPES[size], writeable=False)
        for rows in (1, 9, 20):
            order = guard.copy(rng.integers(0, 9, rows), "int64", writeable=False)
            out = guard.empty((rows - 1) * (columns + gap) + columns, DTYPES[size])
            run(gathered, out, columns + gap, x, columns, columns, order, rows)
            padded = np.append(out, np.full(gap, np.nan)).reshape(rows, columns + gap)
            np.testing.assert_array_equal(padded[:, :columns], x[order])
            assert np.isnan(padded[:, columns:]).all()


def test_total_is_the_sum_in_float64_for_every_length(size: int, guard: Guard) -> None:
    P, lanes = POINTERS[size], lanes_of(size)

    @kernel(DOUBLE(P, INT))
    def summed(x, count):
        return total(x, count, lanes)

    summed, rng = uncached(summed), np.random.default_rng(1)
    for count in (0, *WIDTHS):
        x = guard.copy(rng.normal(size=count), DTYPES[size], writeable=False)
        np.testing.assert_allclose(run(summed, x, count), x.sum(dtype="f8"), rtol=0, atol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_not_finite_finds_a_bad_element_wherever_it_is(bad: float, size: int, guard: Guard) -> None:
    P, lanes = POINTERS[size], lanes_of(size)

    @kernel(INT(P, INT))
    def is_bad(x, count):
        return not_finite(x, count, lanes)

    is_bad, largest = uncached(is_bad), np.finfo(DTYPES[size]).max
    for count in WIDTHS:
        x = guard.copy(np.resize([largest, -largest, 0.0], count), DTYPES[size])
        assert run(is_bad, x, count) == 0
        for i in range(count):
            before, x[i] = x[i], bad
            assert run(is_bad, x, count) == 1
            assert run(is_bad, x, i) == 0, "what lies behind does not count"
            x[i] = before
