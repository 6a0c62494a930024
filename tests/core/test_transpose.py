"""A transpose is NumPy's for every number of rows and columns."""

import numpy as np
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, run

from fastbp.core.matmul.transpose import transpose


def test_a_transpose_is_numpys_for_every_shape(size: int, guard: Guard) -> None:
    for rows in WIDTHS:
        for columns in {1, 2, 15, 16, 17, 33, rows, 71 - rows if rows < 71 else 1}:
            x = guard.copy(np.arange(rows * columns).reshape(rows, columns), DTYPES[size], writeable=False)
            out = guard.empty((columns, rows), DTYPES[size])
            run(transpose(size), out, rows, x, columns, rows, columns)
            assert (out == x.T).all()
