"""Sums of a few rows, c_mn = b_n + Σ_r s_mr v_nr."""

import itertools

import numpy as np
from guard import Guard
from kernel_calls import DTYPES, close, run

from fastbp.core.ir.kernel import lanes_of
from fastbp.core.matmul import few_rows


def test_dots_are_their_sums(size: int, guard: Guard) -> None:
    rng = np.random.default_rng(5)
    lanes = lanes_of(size)
    for M, N, R in itertools.product((1, 3), (1, 2, 5, lanes, 2 * lanes + 3), (1, lanes - 1, 2 * lanes + 1)):
        C = guard.empty((M, N), DTYPES[size])
        b = guard.copy(rng.normal(size=N), DTYPES[size], writeable=False)
        S = guard.copy(rng.normal(size=(M, R)), DTYPES[size], writeable=False)
        V = guard.copy(rng.normal(size=(N, R)), DTYPES[size], writeable=False)
        run(few_rows.few_rows(size), C, N, b, 0, S, R, V, R, M, N, R)
        close(C, b + S.astype("f8") @ V.T, size)
