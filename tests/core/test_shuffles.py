"""Shuffles of lanes give what NumPy's reshaping and indexing give."""

from typing import Any

import numpy as np
import pytest
from formulas import run

from fastbp.core.ir.kernel import lanes_of
from fastbp.core.ir.shuffles import combine_groups, concatenated, pick, sum_each, transposed
from fastbp.core.ir.traced import maximum

SIZES = {4: np.float32, 8: np.float64}


def numbers(shape: tuple[int, ...], size: int) -> Any:
    return np.random.default_rng(1).integers(-99, 99, shape).astype(SIZES[size])  # whose sums are exact


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [1, 2, 4])
def test_transposes_and_sums_of_vectors(size: int, width: int) -> None:
    lanes = lanes_of(size)
    width = min(width, lanes)
    n = lanes // width
    x = numbers((n, lanes), size)
    out, blocks = np.zeros((n + 1, lanes), x.dtype), x.reshape(n, n, width)

    def formula(out: Any, x: Any, count: Any) -> None:
        rows = [(x + i * lanes).load(lanes) for i in range(n)]
        for i, row in enumerate((*transposed(rows, width), sum_each(rows, width))):
            (out + i * lanes).store(row)

    run(formula, out, x)
    np.testing.assert_array_equal(out[:n], np.swapaxes(blocks, 0, 1).reshape(n, lanes))
    np.testing.assert_array_equal(out[n], blocks.sum(axis=1).ravel())


@pytest.mark.parametrize("size", SIZES)
def test_groups_of_lanes_are_combined_and_vectors_joined(size: int) -> None:
    lanes = lanes_of(size)
    x = numbers((lanes,), size)
    out = np.zeros((2, lanes), x.dtype)

    def formula(out: Any, x: Any, count: Any) -> None:
        whole = x.load(lanes)
        out.store(combine_groups(whole, 2, maximum))
        (out + lanes).store(concatenated([pick(whole, [i, i + 1]) for i in range(lanes - 2, -1, -2)]))

    run(formula, out, x)
    pairs = x.reshape(-1, 2)
    np.testing.assert_array_equal(out, [np.repeat(pairs.max(axis=1), 2), pairs[::-1].ravel()])
