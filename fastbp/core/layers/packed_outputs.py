"""Losses for a few outputs: several examples in one vector (ir/packed_rows.py).

Kernels as those of loss.py, whose place they take; softmax/packed.py has those of softmax. A formula is a
function (outputs, x, y, w, w · scale) -> cost of every example, delta of every output, on Lanes.
"""

import functools

from fastbp.core.ir.control import when
from fastbp.core.ir.kernel import kernel, lanes_of, loss_signature, wide_vectors
from fastbp.core.ir.packed_rows import PackedRows
from fastbp.core.ir.shuffles import combine_groups, pick
from fastbp.core.ir.traced import narrowed, procedure, select, widened


class Outputs:
    """The outputs of several examples in one vector; `numbers` are one for each example, in another vector."""

    def __init__(self, lanes, width):
        self.lanes, self.width, self.packed = lanes, width, PackedRows(lanes, width)
        self.numbers = PackedRows(self.packed.rows, 1)
        self.j = [i % self.packed.columns for i in range(lanes)]

    def here(self, x, other):
        """x where there is an output, else the other."""
        if self.width == self.packed.columns:
            return x
        return select(x.mask(int(j < self.width) for j in self.j), x, other)

    def sum(self, x):
        """Of an example's outputs, in all its lanes."""
        return combine_groups(x, self.packed.columns, lambda x, y: x + y)

    def one(self, x):
        """The first lane of each example, as numbers."""
        return pick(x, range(0, self.lanes, self.packed.columns))

    def all(self, numbers):
        """Each number in all lanes of its example."""
        return pick(numbers, [i // self.packed.columns for i in range(self.lanes)])

    def load(self, pointer, n, row, last):
        return self.packed.load(self.packed.pointers(pointer + n * row, row, last))

    def store(self, x, pointer, n, row, last):
        self.packed.store(x, self.packed.pointers(pointer + n * row, row, last))

    def load_numbers(self, pointer, n, last):
        if last is None:
            return (pointer + n).load(self.numbers.lanes)
        return self.numbers.load(self.numbers.pointers(pointer + n, n.like(1), last))

    def store_numbers(self, x, pointer, n, last):
        if last is None:
            (pointer + n).store(x)
        else:
            self.numbers.store(x, self.numbers.pointers(pointer + n, n.like(1), last))

    def weights(self, same, pointer, n, w_row, last, scale):
        """Numbers: the examples' weights w, and w · scale; or the `same` pair if w_row is 0."""

        def each():
            weight = self.load_numbers(pointer, n, last)
            return weight, scaled(weight, scale)

        return when(w_row != 0, each, same)


# --- formulas -------------------------------------------------------------------------------------------------------


def scaled(weight, scale):
    """w · scale by way of float64: the sum of large weights is beyond what float32 has an inverse of."""
    return narrowed(widened(weight) * scale, weight)


def elementwise(value, derivative):
    """w Σ_j c(x_j, y_j) and its derivative, scaled."""

    def formula(outputs, x, y, weight, factor):
        factor, weight = outputs.all(factor), outputs.all(weight)
        counted = outputs.here(weight, 0.0) != 0.0
        cost, delta = value(x, y) * weight, derivative(x, y) * factor
        return outputs.one(outputs.sum(select(counted, cost, 0.0))), select(counted, delta, 0.0)

    return formula


# --- kernels --------------------------------------------------------------------------------------------------------


def all_examples(width, targets, lanes, formula, output, costs, x, y, weighting, rows):
    """Costs and deltas of all examples; targets: numbers of y for one, `width` or 1."""
    outputs, (d, stride), (weights, w_row, scale) = Outputs(lanes, width), output, weighting
    same = weights.filled(outputs.numbers.lanes, weights[0])
    pair = same, scaled(same, scale)

    def compute(n, last):
        x_n = outputs.load(x, n, stride, last)
        y_n = outputs.load(y, n, rows.like(width), last) if targets > 1 else outputs.load_numbers(y, n, last)
        cost, delta = formula(outputs, x_n, y_n, *outputs.weights(pair, weights, n, w_row, last, scale))
        outputs.store(delta, d, n, stride, last)
        outputs.store_numbers(cost, costs, n, last)

    outputs.packed.each(rows, compute)


def loss_of_few(formula, vectors, name, size, width, targets, parameters=()):
    """The kernel of a formula for `width` outputs and `targets` numbers of y, on `vectors` vectors at once."""
    compute = procedure(functools.partial(all_examples, width, targets, vectors * lanes_of(size), formula))

    @kernel(loss_signature(size), name, size, width, targets, *parameters)
    def loss_of_few(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        compute((d, stride), costs, x, y, (weights, w_row, scale), rows)

    return loss_of_few


@functools.cache
def elementwise_of_few(value, derivative, size, width, parameters=()):
    """`elementwise` of layers/loss.py."""
    formula = elementwise(lambda x, y: value(x, y, *parameters), lambda x, y: derivative(x, y, *parameters))
    return loss_of_few(formula, 1, value.__name__, size, width, width, parameters)
