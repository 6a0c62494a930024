"""The three sums, c_mn = init_mn + Σ_r s_mr v_rn: panels of every tile and width, and matrices cut into panels."""

from collections.abc import Iterable

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, EPSILON, WIDTHS, close, panel_addresses, run

from fastbp.core import reference
from fastbp.core.ir.kernel import Kernel, lanes_of, registers
from fastbp.core.matmul import forms, gemm


def assert_panel_is_its_sum(kernel: Kernel, M: int, N: int, size: int, guard: Guard, *, biased: bool = False) -> None:
    """With rows of C and V that follow one another, or have gaps, and S by rows and by columns."""
    rng, rows = np.random.default_rng(M), M + biased
    for R, gap, by_column in ((1, 0, False), (3, 5, True), (2, 0, True), (9, 3, False)):
        C_all = guard.empty((rows - 1) * (N + gap) + N, DTYPES[size])
        init = guard.copy(rng.normal(size=N if gap else rows * N), DTYPES[size], writeable=False)
        S_all = rng.normal(size=(max(M, 1), R)).astype(DTYPES[size])
        S = guard.copy(S_all.T if by_column else S_all, writeable=False)
        V = guard.copy(rng.normal(size=(R - 1) * (N + gap) + N), DTYPES[size], writeable=False)
        steps = (1, max(M, 1)) if by_column else (R, 1)
        run(kernel, C_all, N + gap, 0, init, 0 if gap else N, S, *steps, V, N + gap, M, N, R)
        padded = np.full((2, max(rows, R), N + gap), np.nan)
        padded[0].reshape(-1)[: C_all.size] = C_all
        padded[1].reshape(-1)[: V.size] = V
        assert np.isnan(padded[0, :, N:]).all(), "wrote between the rows"
        factors = np.vstack([S_all[:M], np.ones((1, R))]) if biased else S_all
        close(padded[0, :rows, :N], init.reshape(-1, N) + factors.astype("f8") @ padded[1, :R, :N], size)


def heights_of(columns: int) -> set[int]:
    """Numbers of rows that need each tile alone, behind others, and with a row that is made more than once."""
    tall, *lower = forms.TILES[registers()[1]][columns]
    return {0, 1, 2, tall - 1, tall, 2 * tall + 1} | {more + tile + 1 for more in (-1, 0, tall) for tile in lower}


def widths_of(columns: int, full: bool, size: int) -> Iterable[int]:
    """Lanes of a panel's rows."""
    most = columns * lanes_of(size)
    return [most] if full else range(most - lanes_of(size) + 1, most + 1)


@pytest.mark.parametrize("columns", forms.TILES[registers()[1]])
@pytest.mark.parametrize("full", [False, True])
def test_a_panel_is_its_sum(columns: int, full: bool, size: int, guard: Guard) -> None:
    for N in widths_of(columns, full, size):
        for M in heights_of(columns) - {0}:
            assert_panel_is_its_sum(gemm.panel(size, columns, full), M, N, size, guard)


@pytest.mark.parametrize("columns", forms.TILES[registers()[1]])
@pytest.mark.parametrize("full", [False, True])
def test_a_panel_adds_the_row_of_biases_behind_its_weights(columns: int, full: bool, size: int, guard: Guard) -> None:
    kernel = gemm.biased_panel(size, columns, full)
    for N in widths_of(columns, full, size):
        for M in heights_of(columns):
            assert_panel_is_its_sum(kernel, M, N, size, guard, biased=True)


@pytest.mark.parametrize("columns", forms.TILES[registers()[1]])
@pytest.mark.parametrize("rows", forms.LOW)
@pytest.mark.parametrize("full", [False, True])
def test_a_low_panel_is_its_sum(rows: int, columns: int, full: bool, size: int, guard: Guard) -> None:
    for N in widths_of(columns, full, size):
        for M in {1, rows // 2 + 1, rows}:
            for biased in (False, True):
                kernel = gemm.low_panel(size, columns, full, rows, biased)
                assert_panel_is_its_sum(kernel, M, N, size, guard, biased=biased)


@pytest.mark.parametrize("columns", forms.TILES[registers()[1]])
def test_a_sum_goes_on_from_what_it_overwrites(columns: int, size: int) -> None:
    rng, N, R = np.random.default_rng(8), columns * lanes_of(size), 5
    low = ((gemm.low_panel(size, columns, 1, rows), (rows // 2 + 1, rows)) for rows in forms.LOW)
    for kernel, heights in ((gemm.panel(size, columns, 1), heights_of(columns) - {0}), *low):
        for M in heights:
            C, S, V = (rng.normal(size=shape).astype(DTYPES[size]) for shape in ((M, N), (M, R), (R, N)))
            wanted = C + S.astype("f8") @ V
            run(kernel, C, N, 0, C, N, S, R, 1, V, N, M, N, R)
            close(C, wanted, size)


def test_dense_is_its_sum_for_every_width(size: int, guard: Guard) -> None:
    rng = np.random.default_rng(4)
    for N, needed in [(width, needed) for width in WIDTHS for needed in (WIDTHS, (width,))]:
        panels = panel_addresses(size, needed)
        for M in (1, 7, 26):
            R = 1 + N % 5
            C = guard.empty((M, N), DTYPES[size])
            b = guard.copy(rng.normal(size=N), DTYPES[size], writeable=False)
            S = guard.copy(rng.normal(size=(M, R)), DTYPES[size], writeable=False)
            V = guard.copy(rng.normal(size=(R, N)), DTYPES[size], writeable=False)
            run(gemm.dense(size), panels, C, N, 0, b, 0, S, R, 1, V, N, M, N, R)
            close(C, b + S.astype("f8") @ V, size)


def test_the_panel_for_one_row_gives_the_bits_of_that_row_among_others(size: int, guard: Guard) -> None:
    rng, lanes = np.random.default_rng(4), lanes_of(size)
    for N in {N + more for N in (8 * lanes, 9 * lanes, 15 * lanes, 17 * lanes) for more in (-1, 0, 1, lanes // 2)}:
        panels = panel_addresses(size, (N,))
        b, S, V = (rng.normal(size=shape).astype(DTYPES[size]) for shape in (N, (2, 5), (5, N)))
        both = np.empty((2, N), DTYPES[size])
        run(gemm.dense(size), panels, both, N, 0, b, 0, S, 5, 1, V, N, 2, N, 5)
        panels[-1] = gemm.row_panel(size, N, "identity").address
        C = guard.empty(N, DTYPES[size])
        b, V = (guard.copy(array, DTYPES[size], writeable=False) for array in (b, V))
        run(gemm.dense(size), panels, C, N, 0, b, 0, S, 5, 1, V, N, 1, N, 5)
        np.testing.assert_array_equal(C, both[0])


@pytest.mark.parametrize("rows", [1, 7, 26])
def test_the_three_sums_of_a_layer_are_the_loops_of_the_textbook(rows: int, size: int, guard: Guard) -> None:
    """z_nj = Σ_k w_jk x_nk + b_j, dx_nk = Σ_j w_jk dz_nj and dw_jk = Σ_n x_nk dz_nj, w stored by inputs k."""
    rng, dense = np.random.default_rng(rows), gemm.dense(size)
    for n_out in WIDTHS:
        n_in = WIDTHS[(29 * n_out + rows) % len(WIDTHS)]
        x, w, dz, b = (
            guard.copy(rng.normal(size=shape), DTYPES[size], writeable=False)
            for shape in ((rows, n_in), (n_in, n_out), (rows, n_out), n_out)
        )
        w_t = guard.copy(w.T, writeable=False)
        zeros = guard.copy(np.zeros(max(n_in, n_out)), DTYPES[size], writeable=False)
        z, dx, dw = (guard.empty(a.shape, DTYPES[size]) for a in (dz, x, w))
        of_out, of_in = panel_addresses(size, (n_out,)), panel_addresses(size, (n_in,))
        run(dense, of_out, z, n_out, 0, b, 0, x, n_in, 1, w, n_out, rows, n_out, n_in)
        run(dense, of_in, dx, n_in, 0, zeros, 0, dz, n_out, 1, w_t, n_in, rows, n_in, n_out)
        run(dense, of_out, dw, n_out, 0, zeros, 0, x, 1, n_in, dz, n_out, n_in, n_out, rows)

        x8, w8, dz8, b8 = (np.ascontiguousarray(a, "f8") for a in (x, w.T, dz, b))
        z8, a8, dx8, dz_again, dw8, db8 = (np.empty_like(a) for a in (dz8, dz8, x8, dz8, w8, b8))
        reference.forward(z8, a8, x8, w8, b8, reference.identity)
        reference.backward(dx8, dz_again, dz8, z8, w8, reference.identity_prime)
        reference.gradients(dw8, db8, x8, dz8)
        for found, expected in ((z, z8), (dx, dx8), (dw, dw8.T)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=3 * EPSILON[size])
