"""Sums of a few rows, c_mn = b_n + Σ_r s_mr v_nr."""

import itertools

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, EPSILON, WIDTHS, close, run

from fastbp.core import reference
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


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_deltas_of_every_width_are_the_loops_of_the_textbook(rows: int, size: int, guard: Guard) -> None:
    """dx_nk = Σ_j w_jk dz_nj, w stored by inputs k."""
    rng = np.random.default_rng(rows)
    for n_out in WIDTHS:
        n_in = WIDTHS[(29 * n_out + rows) % len(WIDTHS)]
        dz, w, zeros = (
            guard.copy(values, DTYPES[size], writeable=False)
            for values in (rng.normal(size=(rows, n_out)), rng.normal(size=(n_in, n_out)), np.zeros(n_in))
        )
        dx = guard.empty((rows, n_in), DTYPES[size])
        run(few_rows.few_rows(size), dx, n_in, zeros, 0, dz, n_out, w, n_out, rows, n_in, n_out)
        da, same, expected = dz.astype("f8"), np.empty((rows, n_out)), np.empty((rows, n_in))
        w_by_outputs = np.ascontiguousarray(w.T, "f8")
        reference.backward(expected, same, da, da, w_by_outputs, reference.identity_prime)
        np.testing.assert_allclose(dx, expected, rtol=0, atol=3 * EPSILON[size])
