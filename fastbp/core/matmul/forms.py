"""Which form of a kernel a layer takes, by its numbers of inputs and outputs and the bytes of a number.

All such decisions, each with its reason. Another threshold changes the order of sums, and so the bits.

    packs_examples           losses and softmax: several examples in one vector
    softmax_form             softmax: packed, transposed or wide
    sums_few_columns         forward sums: several examples in one vector
    packs_weights            forward sums: from a packed copy of the weights
    sums_over_inputs         weight gradients: lanes over the inputs instead of the outputs
    keeps_rows_together      weight gradients: all rows and the biases' in one register tile
    low_rows                 sums of so few rows that the terms are divided among accumulators
"""

from fastbp.core.ir.kernel import lanes_of, registers
from fastbp.core.ir.packed_rows import columns_of

# Rows of the register tiles, by number of SIMD registers and of vectors in a row of the tile. Those of the tallest one,
# rows x vectors, the vectors of V and one element of S fill the registers; the lowest has sums enough for two units
# that take four cycles; one between them halves the loads of V, in wide layers from beyond the smallest cache.
TILES = {
    32: {1: (24, 8), 2: (12, 4), 3: (8, 3), 4: (6, 4, 2)},
    16: {1: (12, 8), 2: (6, 4), 3: (4, 3)},
}

LINE = 64  # bytes


def vectors_of(width, size):
    """Vectors that a row of `width` numbers needs."""
    return -(-width // lanes_of(size))


def panel_width(size):
    """Lanes of the widest panel."""
    return max(TILES[registers()[1]]) * lanes_of(size)


# --- losses and softmax ---------------------------------------------------------------------------------------------

MOST_PACKED = 4
"""Outputs of a packed softmax. Of more, it is faster transposed: one exponential for each output, and no more."""

MOST_TRANSPOSED = 2
"""Vectors of outputs of a transposed softmax, whose maximum and sum then cross no lanes."""


def packs_examples(width, size):
    """Whether a vector has room for two examples of `width` outputs."""
    return 2 * width <= lanes_of(size)


def softmax_form(width, size):
    """The form of softmax, and of its cross-entropy with class indices: "packed", "transposed" or "wide"."""
    if packs_examples(width, size) and width <= MOST_PACKED:
        return "packed"
    return "transposed" if width <= MOST_TRANSPOSED * lanes_of(size) else "wide"


# --- forward sums ---------------------------------------------------------------------------------------------------

MOST_FEW_COLUMNS = 8
"""Outputs of `few_columns`. With more, the lanes of an ordinary panel are full enough."""
RECOMPUTED = 2
"""Columns up to which `few_columns` makes the diagonals of V again for the next rows; of more it keeps them."""
MOST_KEPT = 40 * 1024
"""Bytes of diagonals on the stack that leave room for the rows in the first cache."""

WIDE = 2048
"""Bytes of a row of weights from which on rows share pages and cache sets."""
SMALL = 16 * 1024
"""Bytes of weights that stay in the first cache anyway: to cross its lines costs less than a copy."""
FEWEST_PACKED = 32
"""Outputs of a layer whose weights are packed because rows cross cache lines."""


def sums_few_columns(n_in, n_out, size):
    """Whether `few_columns` makes the forward sums."""
    columns = columns_of(n_out)
    kept = n_in * columns * size if columns > RECOMPUTED else 0
    return n_out <= min(MOST_FEW_COLUMNS, lanes_of(size) // 2) and kept <= MOST_KEPT


def packs_weights(n_in, n_out, size):
    """Whether the forward sums read packed weights, where there are examples enough."""
    crosses_lines = n_out >= FEWEST_PACKED and n_out * size % LINE != 0 and n_in * n_out * size > SMALL
    return n_out * size >= WIDE or crosses_lines


# --- weight gradients -----------------------------------------------------------------------------------------------

LOW = (1, 2, 4)
"""Rows of the panels for fewer rows than one accumulator each keeps the units busy with."""


def low_rows(count):
    """The rows of the lowest panel for `count` rows, or 0 if they are enough for an ordinary one."""
    return next((rows for rows in LOW if count <= rows), 0)


def keeps_rows_together(n_in, n_out, size):
    """Whether one register tile holds the gradients of all weights and biases: few inputs, at most a panel wide."""
    rows = low_rows(n_in)
    fits_registers = (rows + 2) * vectors_of(n_out, size) < registers()[1]
    return rows > 0 and n_out <= panel_width(size) and fits_registers


def sums_over_inputs(n_in, n_out, size):
    """Whether the weight gradients' sums cost less with their lanes over the inputs than over the outputs.

    Vectors a multiply-add needs for one example: n_in times those of a row of outputs, or n_out times those of a row
    of inputs, which are then transposed: a quarter more.
    """
    return 1.25 * n_out * vectors_of(n_in, size) < n_in * vectors_of(n_out, size)
