"""Packed rows: each is loaded and stored whole, the last vector's too, and nothing between or behind the rows."""

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, run, uncached

from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of
from fastbp.core.ir.packed_rows import PackedRows, columns_of
from fastbp.core.ir.traced import procedure


@pytest.mark.parametrize("width", range(1, 131))
def test_a_row_has_the_least_power_of_2_lanes_that_hold_it(width: int) -> None:
    assert columns_of(width) == min(2**i for i in range(9) if 2**i >= width)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 11, 16])
def test_rows_plus_a_row_are_those_of_numpy(width: int, size: int, guard: Guard) -> None:
    P, lanes = POINTERS[size], lanes_of(size)
    if width > lanes:
        pytest.skip("a row is longer than a vector")
    rows = PackedRows(lanes, width)

    @procedure
    def add(out, out_row, x, x_row, b, count):
        def one_vector(m, last):
            packed = rows.load(rows.pointers(x + m * x_row, x_row, last))
            rows.store(packed + rows.repeated(b), rows.pointers(out + m * out_row, out_row, last))

        rows.each(count, one_vector)

    @kernel(VOID(P, INT, P, INT, P, INT))
    def added(out, out_row, x, x_row, b, count):
        add(out, out_row, x, x_row, b, count)

    added, rng = uncached(added), np.random.default_rng(width)
    b = guard.copy(rng.normal(size=width), DTYPES[size], writeable=False)
    for gap in (0, 3):
        for count in range(1, 2 * rows.rows + 2):
            x = guard.copy(rng.normal(size=(count, width)), DTYPES[size], writeable=False)
            out = guard.empty((count - 1) * (width + gap) + width, DTYPES[size])
            run(added, out, width + gap, x, width, b, count)
            padded = np.append(out, np.full(gap, np.nan)).reshape(count, width + gap)
            np.testing.assert_array_equal(padded[:, :width], x + b)
            assert np.isnan(padded[:, width:]).all(), "the gaps between the rows are not written"
