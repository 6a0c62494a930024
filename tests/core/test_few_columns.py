"""Outputs of a few columns are those of a panel, and a row has the same bits alone and among others."""

import itertools

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, EPSILON, run
from numba import njit

from fastbp.core import reference
from fastbp.core.ir.kernel import lanes_of
from fastbp.core.matmul import few_columns, forms, gemm

LENGTHS = (1, 2, 3, 7, 8, 16, 23, 32, 37, 150)  # of a row: each has its own kernels


@pytest.mark.parametrize("R", LENGTHS)
def test_a_panel_of_few_columns_gives_the_sums_of_a_panel_and_a_row_has_the_same_bits_alone(
    R: int, size: int, guard: Guard
) -> None:
    rng, plain = np.random.default_rng(R), gemm.panel(size, 1, 0, "leaky_relu")
    for N in (N for N in range(1, 9) if forms.sums_few_columns(R, N, size)):
        kernel = few_columns.few_columns(size, R, N, "leaky_relu")
        for M, gap in itertools.product((1, 2, lanes_of(size), 2 * lanes_of(size) + 3), (0, 3)):
            C, wanted = (guard.empty((M - 1) * (N + gap) + N, DTYPES[size]) for _ in range(2))
            shapes = (N, (M - 1) * (R + gap) + R, R * N)
            init, S, V = (guard.copy(rng.normal(size=n), DTYPES[size], writeable=False) for n in shapes)
            for make, out in ((kernel, C), (plain, wanted)):
                run(make, out, N + gap, 0, init, 0, S, R + gap, 1, V, N, M, N, R)
            alone = guard.empty(N, DTYPES[size])
            run(kernel, alone, N, 0, init, 0, S[(M - 1) * (R + gap) :], R, 1, V, N, 1, N, R)
            np.testing.assert_array_equal(alone, C[-N:])
            np.testing.assert_allclose(C, wanted, rtol=0, atol=R * EPSILON[size])
            assert np.isnan(C).sum() == gap * (M - 1)


@njit
def leaky_relu(z):
    return z if z > 0 else z / 100


@pytest.mark.parametrize("R", LENGTHS)
def test_a_panel_of_few_columns_is_the_loops_of_the_textbook(R: int, size: int, guard: Guard) -> None:
    rng, M = np.random.default_rng(R), 7
    for N in (N for N in range(1, 9) if forms.sums_few_columns(R, N, size)):
        shapes = ((M, R), (R, N), N)
        x, w, b = (guard.copy(rng.normal(size=shape), DTYPES[size], writeable=False) for shape in shapes)
        a = guard.empty((M, N), DTYPES[size])
        run(few_columns.few_columns(size, R, N, "leaky_relu"), a, N, 0, b, 0, x, R, 1, w, N, M, N, R)
        z, expected = np.empty((2, M, N))
        reference.forward(z, expected, x.astype("f8"), np.ascontiguousarray(w.T, "f8"), b.astype("f8"), leaky_relu)
        np.testing.assert_allclose(a, expected, rtol=0, atol=R * EPSILON[size])
