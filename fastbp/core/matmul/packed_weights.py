"""Packed weights: a copy of w in panels, from which the forward sums of wide and odd layers read.

In theta the rows w_·k of a layer are n_out apart: of odd widths they cross cache lines, and of wide ones they lie in
other pages and share the sets of the first cache. A panel holds `width` outputs j of all inputs k, row after row, from
a cache line on:

    panel p, row k, lane j:     p n_in width + k width + j

The rows of the last panel are as long as the whole vectors that it needs. In NumPy, of W = w.T (n_in, n_out), padded
by zeros to whole vectors:

    np.concatenate([W[:, j : j + width].ravel() for j in range(0, n_out, width)])
"""

import functools

from fastbp.core.ir.kernel import INT, INTEGERS, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import every, first, load, shift, store
from fastbp.core.ir.traced import minimum
from fastbp.core.matmul.forms import panel_width, vectors_of
from fastbp.core.matmul.gemm import call_panel


def packed_size(n_in, n_out, size):
    """Elements of a layer's packed weights."""
    return n_in * vectors_of(n_out, size) * lanes_of(size)


@functools.cache
def pack(size):
    """Kernel (out, w, n_in, n_out, low, high). Overwrites the rows low … high - 1 of out; w begins with row `low`."""
    lanes, width, P = lanes_of(size), panel_width(size), POINTERS[size]

    @kernel(VOID(P, P, INT, INT, INT, INT), size)
    def pack(out, w, n_in, n_out, low, high):
        wide_vectors()
        for begin in range(0, n_out, width):
            count = minimum(n_out - begin, width)
            whole = count // lanes * lanes
            row = (count + lanes - 1) // lanes * lanes
            for k in range(low, high):
                w_k, out_k = shift(w, (k - low) * n_out + begin), shift(out, begin * n_in + k * row)
                for j in range(0, whole, lanes):
                    store(shift(out_k, j), load(shift(w_k, j), every(lanes)), every(lanes))
                if whole < count:
                    store(shift(out_k, whole), load(shift(w_k, whole), first(count - whole, lanes)), every(lanes))

    return pack


@functools.cache
def packed_dense(size):
    """`dense.dense` for packed V: C[m, n] = init[n] + Σ_r S[m, r] V[low + r, n], for M rows, N columns and R terms.

    Overwrites C (M, N), whose rows are c_row apart; takes the addresses of the panels first.
    """
    lanes, width, P = lanes_of(size), panel_width(size), POINTERS[size]

    @kernel(VOID(INTEGERS, P, INT, P, P, INT, P, INT, INT, INT, INT, INT), size)
    def packed_dense(panels, C, c_row, init, S, s_row, V, n_in, low, M, N, R):
        while N >= width:
            V_low = shift(V, low * width)
            call_panel(panels[0], (C, c_row, 0), (init, 0), (S, s_row, 1), (V_low, width), (M, width, R))
            C, init, V, N = shift(C, width), shift(init, width), shift(V, n_in * width), N - width
        if N > 0:
            vectors = (N + lanes - 1) // lanes
            row = vectors * lanes
            V_low = shift(V, low * row)
            call_panel(panels[vectors], (C, c_row, 0), (init, 0), (S, s_row, 1), (V_low, row), (M, N, R))

    return packed_dense
