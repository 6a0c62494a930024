"""Rows of a few numbers, several abreast in one vector, each in as many lanes as the next power of 2."""

from llvmlite import ir
from numba.core import cgutils

from fastbp.core.ir.memory import load_lanes, store_lanes
from fastbp.core.ir.types import INT32, INT64, Mask, Vector, spread


def columns_of(width):
    """The power of 2 that has room for so many numbers."""
    return 1 << (width - 1).bit_length()


class Abreast:
    """Loads and stores of such vectors, as instructions in the making.

    The last rows may be fewer than a vector holds: `last` is then the number of the last, which is read and written
    more than once; else it is None.
    """

    def __init__(self, builder, number, lanes, width):
        self.builder, self.width, self.lanes = builder, width, lanes
        self.columns = columns_of(width)
        self.rows = lanes // self.columns
        self.vector, self.row = Vector(number, lanes), Vector(number, self.columns)

    def masked(self, vector, count):
        """Mask type and mask of the first lanes of a vector."""
        if count >= vector.lanes:
            return Mask(vector.lanes, full=True), None
        mask = Mask(vector.lanes)
        return mask, ir.Constant(mask.llvm, [int(i < count) for i in range(vector.lanes)])

    def picked(self, vector, lanes, other=None):
        """These lanes of a vector, or of two."""
        take = ir.Constant(ir.VectorType(INT32, len(lanes)), list(lanes))
        return self.builder.shuffle_vector(vector, other or ir.Constant(vector.type, ir.Undefined), take)

    def pointers(self, pointer, stride, last):
        """To the rows of a vector."""
        for m in map(INT64, range(self.rows)):
            if last is not None:
                m = self.builder.select(self.builder.icmp_signed("<", m, last), m, last)
            yield self.builder.gep(pointer, [self.builder.mul(m, stride)])

    def load(self, pointers):
        """The rows at these pointers."""
        if self.columns == 1:  # some vectors of one lane make LLVM 22 fail
            vector = ir.Constant(self.vector.llvm, ir.Undefined)
            for m, at in enumerate(pointers):
                vector = self.builder.insert_element(vector, self.builder.load(at), INT32(m))
            return vector
        mask = self.masked(self.row, self.width)
        parts = [load_lanes(self.builder, at, self.row, *mask) for at in pointers]
        while len(parts) > 1:
            both = range(2 * parts[0].type.count)
            parts = [self.picked(low, both, high) for low, high in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def store(self, vector, pointers):
        """Overwrites the rows at these pointers."""
        if self.columns == 1:
            for m, at in enumerate(pointers):
                self.builder.store(self.builder.extract_element(vector, INT32(m)), at)
            return
        mask = self.masked(self.row, self.width)
        for m, at in enumerate(pointers):
            row = self.picked(vector, range(m * self.columns, (m + 1) * self.columns))
            store_lanes(self.builder, at, self.row, row, *mask)

    def repeated(self, pointer):
        """The row at the pointer in the place of every row."""
        if self.columns == 1:
            return spread(self.builder, self.builder.load(pointer), self.lanes)
        row = load_lanes(self.builder, pointer, self.row, *self.masked(self.row, self.width))
        return self.picked(row, [i % self.columns for i in range(self.lanes)])

    def each(self, count, function):
        """Calls function(first row, last) for all vectors that `count` rows fill."""
        builder, rows = self.builder, INT64(self.rows)
        whole = builder.sub(count, builder.srem(count, rows))
        with cgutils.for_range_slice(builder, INT64(0), whole, rows, inc=True) as (n, _):
            function(n, None)
        with builder.if_then(builder.icmp_signed("<", whole, count)):
            function(whole, builder.sub(builder.sub(count, whole), INT64(1)))
