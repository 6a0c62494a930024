"""Few rows: the sum of matmul/gemm.py with its lanes over the terms: C[m, n] = init[m, n] + Σ_r S[m, r] V[n, r].

For the deltas of a few examples, where transposing the weights would cost more than it saves. The lanes are summed by
halves, in one order for every element of every tile. In NumPy, for `lanes` numbers of a row of C:

    z = np.zeros((lanes, lanes))
    for r in range(0, R, lanes):
        z += S[m, r : r + lanes] * V[n : n + lanes, r : r + lanes]
    C[m, n : n + lanes] = init[m, n : n + lanes] + z.sum(axis=1)
"""

import functools

from fastbp.core.ir.control import repeat
from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.lanes import leading_lanes
from fastbp.core.ir.memory import shift
from fastbp.core.ir.shuffles import sum_each
from fastbp.core.ir.traced import minimum, multiply_add, procedure, traced


def sum_rows(x, lanes):
    """A vector whose lane i is Σ_j x[i, j]; x is (lanes, lanes)."""
    return sum_each([(x + i * lanes).load(lanes) for i in range(lanes)])


def row_tile(C, init, S, V, v_row, N, R, lanes):
    """Overwrites at most `lanes` elements of a row of C, N of which are there."""
    v_rows = [V + minimum(N.like(n), N - 1) * v_row for n in range(lanes)]  # past the end: the last row

    def add_terms(r, z):
        mask = leading_lanes(R - r, lanes)
        s = (S + r).load(lanes, mask)
        return [multiply_add(s, (v + r).load(lanes, mask), z_n) for v, z_n in zip(v_rows, z, strict=True)]

    z = repeat(R, add_terms, [C.filled(lanes, 0.0)] * lanes, step=lanes)
    present = leading_lanes(N, lanes)
    total = sum_each(z)
    C.store(init.load(lanes, present) + total, present)


sums_of_rows, compute_row_tile = traced(sum_rows, literals=1), procedure(row_tile, literals=1)


@functools.cache
def few_rows(size):
    """Overwrites C (M, N): C[m * c_row + n] = init[m * i_row + n] + Σ_r S[m * s_row + r] V[n * v_row + r]."""
    lanes, P = lanes_of(size), POINTERS[size]

    @kernel(VOID(P, INT, P, INT, P, INT, P, INT, INT, INT, INT), size)
    def few_rows(C, c_row, init, i_row, S, s_row, V, v_row, M, N, R):
        wide_vectors()
        for n in range(0, N, lanes):
            C_m, init_m, S_m, V_n = shift(C, n), shift(init, n), S, shift(V, n * v_row)
            for _ in range(M):
                compute_row_tile(C_m, init_m, S_m, V_n, v_row, N - n, R, lanes)
                C_m, init_m, S_m = shift(C_m, c_row), shift(init_m, i_row), shift(S_m, s_row)

    return few_rows
