"""The micro-kernel: a tile of the sum of matmul/gemm.py, rows x vectors of C, summed in registers. In NumPy:

    z = init.copy()                              # z_mn = init_mn
    for r in range(R):
        z += S[:, r, None] * V[r]                # z_mn += s_m v_n: one multiply-add for each row and vector
    C[:] = epilogue(z)

The sum over r runs in order, in every tile of one accumulator: all of these give the same bits. It begins with init
where each row has its own, and may so be continued from C itself (init = C). A row of init for all, as of biases, is
added at the end: to copy it to every register first takes 20 cycles.
"""

import functools
from itertools import pairwise
from typing import NamedTuple

from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.ir.control import repeat, repeat_while, when
from fastbp.core.ir.lanes import leading_lanes
from fastbp.core.ir.traced import maximum, minimum, multiply_add, procedure, sum_by_halves

GROUP = 4  # rows of S that one pointer serves


class Shape(NamedTuple):
    """What a tile is compiled for."""

    rows: int
    columns: int
    """Vectors in a row."""
    lanes: int
    full: bool
    """All vectors are whole; else the last is cut by a mask, so that a row has N lanes in all."""
    clamp_rows: bool = False
    """There may be fewer rows, M; then the last is computed more than once: as quickly, as the sums of a few rows would
    wait for one another."""
    bias_row: bool = False
    """Row M of C is computed, too, as if row M of S were of ones: M may be 0 then."""
    accumulators: int = 1
    """Of each sum; the terms go to them by turns: where there are not enough sums to keep the units busy."""
    epilogue: str = "identity"
    """What becomes of a sum on its way to C: see `epilogue_of`."""


def epilogue_of(name):
    """(C, a) -> what is stored: σ(C) for the name of a short σ, C σ' for the name and a prime, from the output a."""
    row = ACTIVATIONS[name.rstrip("'")]
    if name.endswith("'"):
        return lambda total, a: row.derivative(a, a) * total
    return lambda total, a: row.value(total)


class Row:
    """The vectors of one row of the tile, side by side; the last may be cut by a mask."""

    def __init__(self, shape, N):
        self.lanes, last = shape.lanes, (shape.columns - 1) * shape.lanes
        masks = [None] * (shape.columns - 1) + [None if shape.full else leading_lanes(N - last, shape.lanes)]
        self.vectors = [(n * shape.lanes, mask) for n, mask in enumerate(masks)]

    def filled(self, pointer, number):
        return [pointer.filled(self.lanes, number) for _ in self.vectors]

    def load(self, pointer):
        return [(pointer + n).load(self.lanes, mask) for n, mask in self.vectors]


def row_indices(shape, M):
    """The rows m of the tile; with clamp_rows, of those that are not there the last that is."""
    numbers = [M.like(m) for m in range(shape.rows)]
    return [minimum(m, maximum(M - 1, 0)) for m in numbers] if shape.clamp_rows else numbers


def plus_products(z, s, v):
    """z_mn + s_m v_n, each in one operation; in the rows behind those of s, of biases, s_m is 1."""
    sums = [
        [multiply_add(s_m, v_n, z_mn) for v_n, z_mn in zip(v, z_m, strict=True)] for s_m, z_m in zip(s, z, strict=False)
    ]
    return sums + [[z_mn + v_n for v_n, z_mn in zip(v, z_m, strict=True)] for z_m in z[len(sums) :]]


def tile(shape, out, start, left, right, count):
    """Overwrites the rows of a Shape: C[m, n] = epilogue(init[m, n] + Σ_r S[m, r] V[r, n]).

    out: (C, c_row, offset), start: (init, i_row), left: (S, s_row, s_sum), right: (V, v_row), count: (M, N, R).
    `offset` is the distance from C's elements to what else its epilogue reads.
    """
    C, (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R) = out[0], start, left, right, count
    row, rows = Row(shape, N), row_indices(shape, M)
    with_biases = rows + [M] * shape.bias_row
    zeros = [row.filled(C, 0.0) for _ in with_biases]
    z = when(i_row != 0, lambda: [row.load(init + m * i_row) for m in with_biases], zeros)

    groups = [S + m * s_row for m in rows[::GROUP]]
    within = [(m - rows[i // GROUP * GROUP]) * s_row for i, m in enumerate(rows)]

    def add_term(s, v, z):
        """The next s and v, and z_mn + s_m v_n."""
        s, v_n = [group.opaque() for group in s], row.load(v)
        s_m = (v_n[0].spread(s[i // GROUP][distance]) for i, distance in enumerate(within))
        return [group + s_sum for group in s], v + v_row, plus_products(z, s_m, v_n)

    def add_terms(r, state):
        """One term to each accumulator."""
        s, v, *accumulators = state
        for i, z in enumerate(accumulators):
            s, v, accumulators[i] = add_term(s, v, z)
        return s, v, *accumulators

    n_sums = shape.accumulators
    s, v, z, *others = repeat(R // n_sums, add_terms, (groups, V, z, *[zeros] * (n_sums - 1)))
    if others:
        _, _, z = repeat(R % n_sums, add_terms, (s, v, z))
    store_tile(shape, out, start, row, with_biases, (z, *others))


def store_tile(shape, out, start, row, rows, accumulators):
    """C_mn = epilogue(init_n + z_mn); init_n only if i_row is 0, where all rows have the same."""
    (C, c_row, offset), (init, i_row) = out, start
    epilogue, a = epilogue_of(shape.epilogue), None
    common = when(i_row == 0, lambda: row.load(init), row.filled(C, -0.0))  # x + -0 is x, of each x
    for m, *z_m in zip(rows, *accumulators, strict=True):
        for init_n, (n, mask), *z_mn in zip(common, row.vectors, *z_m, strict=True):
            at = C + m * c_row + n
            if shape.epilogue.endswith("'"):
                a = (at + offset).load(shape.lanes, mask)
            at.store(epilogue(init_n + sum_by_halves(z_mn), a), mask)


def tiles(shape, heights, out, start, left, right, count):
    """All M rows by tiles of these heights, the tallest first and in the end 1.

    A tile computes fewer rows than its height where the next lower one would take as long. Up to twice the height of
    the next one are left to that: two of those load V as often as this one and another for the remainder.
    """
    (C, c_row, offset), (init, i_row), (S, s_row, s_sum), (M, N, R) = out, start, left, count
    for height, lower in pairwise((*heights, 0)):
        # a single row takes as long as a few: its sums wait for one another
        fewest = (height - 1) // lower * lower + 1 if lower > 1 else lower + 1
        one = shape._replace(rows=height, clamp_rows=fewest < height)

        def fits(C, init, S, M, fewest=fewest, height=height, lower=lower):
            return (M >= fewest) & ((M <= height) | (M > 2 * lower))

        def body(C, init, S, M, one=one):
            tile(one, (C, c_row, offset), (init, i_row), (S, s_row, s_sum), right, (M, N, R))
            return C + c_row * one.rows, init + i_row * one.rows, S + s_row * one.rows, M - one.rows

        C, init, S, M = repeat_while(fits, body, C, init, S, M)


def tile_of(shape):
    """The tile of a Shape, as a function of compiled code."""
    return procedure(functools.partial(tile, shape))


def tiles_of(shape, heights):
    """All rows by tiles of these heights, as a function of compiled code."""
    return procedure(functools.partial(tiles, shape, heights))
