"""Packed rows: short rows of numbers, several in one vector, each in as many lanes as the next power of 2.

width 3, lanes 8:      row m   0   1   2  unused  |  row m + 1   0   1   2  unused
"""

from fastbp.core.ir.control import repeat, when
from fastbp.core.ir.shuffles import concatenated, pick, vector_of
from fastbp.core.ir.traced import minimum


def columns_of(width):
    """The power of 2 that has room for `width` numbers."""
    return 1 << (width - 1).bit_length()


class PackedRows:
    """Traced loads and stores of packed rows.

    `last`: None for a full vector; else the index of the last valid row, which the lanes beyond it repeat.
    """

    def __init__(self, lanes, width):
        self.lanes, self.width, self.columns = lanes, width, columns_of(width)
        self.rows = lanes // self.columns

    def pointers(self, pointer, stride, last):
        """Yields a pointer to each row of one vector."""
        for m in map(stride.like, range(self.rows)):
            yield pointer + (m if last is None else minimum(m, last)) * stride

    def load(self, pointers):
        """The rows at these pointers."""
        pointers = list(pointers)
        if self.columns == 1:  # LLVM 22 fails on some vectors of one lane
            return vector_of((at[0] for at in pointers), pointers[0].filled(self.lanes, 0.0))
        return concatenated([at.load(self.columns, self.width) for at in pointers])

    def store(self, x, pointers):
        """Overwrites the rows at these pointers."""
        for m, at in enumerate(pointers):
            if self.columns == 1:
                at[0] = x[m]
            else:
                at.store(pick(x, range(m * self.columns, (m + 1) * self.columns)), self.width)

    def repeated(self, pointer):
        """Broadcasts the row at the pointer to all rows of a vector."""
        if self.columns == 1:
            return pointer.filled(self.lanes, pointer[0])
        return pick(pointer.load(self.columns, self.width), [i % self.columns for i in range(self.lanes)])

    def each(self, count, function):
        """Calls function(first row, last) for each vector of `count` rows; the last vector may be partial."""
        full = count - count % self.rows
        repeat(full, lambda m, _: function(m, None), step=self.rows)
        when(full < count, lambda: function(full, count - full - 1), ())
