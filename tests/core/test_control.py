"""The loops and branches of formulas do what Python's do."""

from typing import Any

import numpy as np
import pytest
from formulas import run

from fastbp.core.ir.control import VectorArray, repeat, repeat_while, when
from fastbp.core.ir.kernel import lanes_of


@pytest.mark.parametrize("count", range(6))
def test_loops_and_branches(count: int) -> None:
    lanes = lanes_of(8)
    x = np.arange(6.0 * lanes).reshape(6, lanes)
    out = np.zeros((3, lanes))

    def formula(out: Any, x: Any, count: Any) -> None:
        zero, rows = x.filled(lanes, 0.0), VectorArray(x.load(lanes), 6)

        def keep(i: Any, total: Any) -> Any:
            rows[i] = (x + i * lanes).load(lanes)
            return total + rows[i]

        total = repeat(count, keep, zero)
        out.store(total)
        (out + lanes).store(when(count > 2, lambda: rows[count - 1], zero))
        _, halved = repeat_while(lambda left, z: left >= 2, lambda left, z: (left - 2, z * 0.5), count, total)
        (out + 2 * lanes).store(halved)

    run(formula, out, x, count)
    total = x[:count].sum(axis=0)
    np.testing.assert_array_equal(out, [total, x[count - 1] if count > 2 else 0 * total, total / 2 ** (count // 2)])
