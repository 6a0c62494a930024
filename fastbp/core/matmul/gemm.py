"""The three sums of a fully-connected layer, as one kernel: C[m, n] = init[m, n] + Σ_r S[m, r] V[r, n].

    forward           z_nj  = b_j + Σ_k a_nk w_jk      m = example, r = k, lanes = j, V = w; or a_nj = σ(z_nj)
    deltas            da_nk =       Σ_j dz_nj w_jk     m = example, r = j, lanes = k, V = w transposed; or dz_nk
    weight gradients  dw_jk =       Σ_n a_nk dz_nj     m = k, r = example, lanes = j, V = dz; db_j is one row more

S is read element by element with two strides, so one kernel serves all three. microkernel.py has the
order of the sums.
"""

import functools

from fastbp.core.ir.control import call_address
from fastbp.core.ir.kernel import INT, INTEGERS, POINTERS, VOID, kernel, lanes_of, registers, wide_vectors
from fastbp.core.ir.memory import shift
from fastbp.core.ir.traced import procedure
from fastbp.core.matmul.forms import TILES, keeps_rows_together, low_rows, panel_width
from fastbp.core.matmul.microkernel import Shape, tile_of, tiles_of

ENOUGH_SUMS = 8
"""Independent accumulators, so that none waits for the one before: two units take four cycles for a multiply-add."""


def panel_signature(size):
    """Of every panel: C, c_row, offset, init, i_row, S, s_row, s_sum, V, v_row, M, N, R."""
    P = POINTERS[size]
    return VOID(P, INT, INT, P, INT, P, INT, INT, P, INT, INT, INT, INT)


call_panel = procedure(call_address)
"""(address, (C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R)): calls the panel there."""


def rows_by_tiles(shape):
    """All rows of a panel, for `inline`."""
    return tiles_of(shape, (*TILES[registers()[1]][shape.columns], 1))


@functools.cache
def panel(size, columns, full, epilogue="identity"):
    """The kernel for at most `columns` vectors of lanes; `full` if they are all whole; epilogue: see microkernel.py.

    Overwrites C (M, N), where z is the sum for m and n:

        C[m * c_row + n] = epilogue(z)    z = init[m * i_row + n] + Σ_r S[m * s_row + r * s_sum] V[r * v_row + n]
    """
    all_rows = rows_by_tiles(Shape(1, columns, lanes_of(size), full, epilogue=epilogue))

    @kernel(panel_signature(size), size, columns, full, epilogue)
    def panel(C, c_row, offset, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        all_rows((C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R))

    return panel


@functools.cache
def biased_panel(size, columns, full):
    """As `panel`, and overwrites one row more: C[M * c_row + n] = init[M * i_row + n] + Σ_r V[r * v_row + n]."""
    shape = Shape(1, columns, lanes_of(size), full)
    tall, *_, low = TILES[registers()[1]][columns]
    tall = min(tall, (registers()[1] - 1) // columns - 2)  # one row of sums more, V's and an element of S
    tall_tile = tile_of(shape._replace(rows=tall, bias_row=True))
    low_tile = tile_of(shape._replace(rows=low, clamp_rows=True, bias_row=True))
    all_rows = rows_by_tiles(shape)

    @kernel(panel_signature(size), size, columns, full)
    def biased_panel(C, c_row, offset, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        if tall <= M:
            tall_tile((C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R))
            done = tall
        else:
            low_tile((C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R))
            done = low
        C, init, S = shift(C, done * c_row), shift(init, done * i_row), shift(S, done * s_row)
        all_rows((C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M - done, N, R))

    return biased_panel


@functools.cache
def low_panel(size, columns, full, rows, biases=False):
    """As `panel`, or with biases `biased_panel`, for at most `rows` rows.

    Where these are too few sums the terms are divided among several.
    """
    accumulators = -(-ENOUGH_SUMS // ((rows + biases) * columns))
    shape = Shape(rows, columns, lanes_of(size), full, clamp_rows=True, bias_row=biases, accumulators=accumulators)
    few_rows = tile_of(shape)

    @kernel(panel_signature(size), size, columns, full, rows, biases)
    def low_panel(C, c_row, offset, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        few_rows((C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R))

    return low_panel


@functools.cache
def dense(size):
    """The sum for any N: whole panels of the widest tile, then one panel for the lanes that are left.

    Takes the addresses of the panels first (see `panels_for`), and that of one for a row alone or 0; otherwise as
    `panel`.
    """
    lanes = lanes_of(size)
    width = panel_width(size)
    one_row, P = one_row_number(size), POINTERS[size]

    @kernel(VOID(INTEGERS, P, INT, INT, P, INT, P, INT, INT, P, INT, INT, INT, INT), size)
    def dense(panels, C, c_row, offset, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        if M == 1 and panels[one_row] != 0:
            call_panel(panels[one_row], (C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R))
            return
        while N >= width:
            call_panel(panels[0], (C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, width, R))
            C, init, V, N = shift(C, width), shift(init, width), shift(V, width), N - width
        if N > 0:
            last = panels[1 + (N - 1) // lanes]
            call_panel(last, (C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R))

    return dense


def one_row_number(size):
    """The number among a sum's panels of that for a row alone: behind those of `panels_for`."""
    return 1 + panel_width(size) // lanes_of(size)


ROW = 8  # vectors side by side where there is one row alone, so that none waits for the one before


@functools.cache
def row_panel(size, n_out, epilogue):
    """As `panel`, for one row of n_out numbers."""
    width = ROW * lanes_of(size)
    remainder = (n_out - 1) % width + 1
    shape = Shape(1, ROW, lanes_of(size), full=True, epilogue=epilogue)
    whole, last = tile_of(shape), tile_of(shape._replace(columns=-(-remainder // lanes_of(size)), full=False))

    @kernel(panel_signature(size), size, n_out, epilogue)
    def row_panel(C, c_row, offset, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        while N > width:
            whole((C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R))
            C, init, V, N = shift(C, width), shift(init, width), shift(V, width), N - width
        last((C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R))

    return row_panel


def panels_for(size, widths, make=panel, *options):
    """The panels that rows of these widths need, by number: 0 of whole vectors, then the tails of 1, 2, … vectors.

    A tail has no masks where all that need it end at a whole vector.
    """
    lanes, whole = lanes_of(size), panel_width(size)
    panels = {0: make(size, whole // lanes, 1, *options)} if max(widths) >= whole else {}
    tails = [width % whole for width in widths]
    for vectors in range(1, 1 + whole // lanes):
        those = [tail for tail in tails if -(-tail // lanes) == vectors]
        if those:
            panels[vectors] = make(size, vectors, int(not any(tail % lanes for tail in those)), *options)
    return panels


def transposed_panels(size, n_in, n_out):
    """The panels of the sums of transposed weights: n_out rows of n_in."""
    rows = low_rows(n_out)
    return panels_for(size, (n_in,), low_panel, rows) if rows else panels_for(size, (n_in,))


def biased_panels(size, n_in, n_out):
    """(panels of the sums of weights and biases: n_in + 1 rows of n_out, whether these rows must stay together)."""
    if keeps_rows_together(n_in, n_out, size):
        return panels_for(size, (n_out,), low_panel, low_rows(n_in), True), True
    return panels_for(size, (n_out,), biased_panel), False
