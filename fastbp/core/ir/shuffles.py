"""Shuffles of formulas (ir/traced.py): permutations, transposes and horizontal reductions of vectors."""

from llvmlite import ir

from fastbp.core.ir.types import INT32


def pick(x, lanes, other=None):
    """The lanes of x with these indices; those of `other` are counted on behind those of x."""
    take = ir.Constant(ir.VectorType(INT32, len(lanes)), list(lanes))
    second = ir.Constant(x.value.type, ir.Undefined) if other is None else other.value
    return x.new(x.builder.shuffle_vector(x.value, second, take))


def concatenated(vectors):
    """Concatenates the vectors, whose number is a power of 2."""
    while len(vectors) > 1:
        all_lanes = range(2 * vectors[0].value.type.count)
        vectors = [pick(low, all_lanes, high) for low, high in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def vector_of(numbers, like):
    """A vector of these Scalars; `like` is a vector of its type."""
    value = ir.Constant(like.value.type, ir.Undefined)
    for i, number in enumerate(numbers):
        value = like.builder.insert_element(value, number.value, INT32(i))
    return like.new(value)


def butterfly(x, y, bit, flip_x, flip_y):
    """Lane i is x_i, or y_i where i has the bit; with flip_x or flip_y, that of lane i ^ bit."""
    n = x.value.type.count
    lanes = [n + (i ^ bit * flip_y) if i & bit else i ^ bit * flip_x for i in range(n)]
    return pick(x, lanes, y)


def halves(x, y, bit):
    """Two vectors: lane i of the first is x_i, or y_i where i has the bit; of the second, its lane i ^ bit."""
    return butterfly(x, y, bit, False, False), butterfly(x, y, bit, True, True)


def combine_groups(x, width, combine):
    """All `width` lanes of each group combined, in every lane of the group, by halves."""
    bit = width // 2
    while bit:
        x = combine(*halves(x, x, bit))
        bit //= 2
    return x


def sum_each(vectors, width=1):
    """Horizontal sums of n vectors of n * width lanes: the i-th `width` lanes of the result are the sum of vector i's.

    By a butterfly: of 4 vectors a, b, c, d of 4 lanes

        a0+a2 a1+a3 c0+c2 c1+c3                         Σa Σb Σc Σd
        b0+b2 b1+b3 d0+d2 d1+d3          and then
    """
    vectors, n = list(vectors), len(vectors)
    bit = n // 2
    while bit:
        for i in range(bit):
            x, y = halves(vectors[i], vectors[i + bit], bit * width)
            vectors[i] = x + y
        bit //= 2
    return vectors[0]


def swap_quarters(upper, lower, bit):
    """Two rows of a block after its off-diagonal quarters have changed places; a quarter is `bit` lanes wide.

    upper   a b        a c
    lower   c d   ->   b d
    """
    return butterfly(upper, lower, bit, False, True), butterfly(upper, lower, bit, True, False)


def transposed(rows, width=1):
    """The transpose of an n x n matrix of blocks of `width` lanes, given by its rows; in NumPy

    x = np.stack(rows).reshape(n, n, width); np.swapaxes(x, 0, 1)
    """
    rows, n = list(rows), len(rows)
    bit = n // 2
    while bit:
        for i in range(n):
            if not i & bit:
                rows[i], rows[i + bit] = swap_quarters(rows[i], rows[i + bit], bit * width)
        bit //= 2
    return rows
