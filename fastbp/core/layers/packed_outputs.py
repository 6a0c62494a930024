"""Softmax and losses for a few outputs: several examples abreast in one vector.

Kernels as those of activation_kernels.py, loss.py and softmax_cross_entropy.py, whose place they take. A formula is a
function (outputs, x, y, w, w · scale) -> cost of every example, delta of every output, on Lanes.
"""

import functools
import math
import operator

from numba.core import types
from numba.extending import intrinsic

from fastbp.core.formulas.elementary import exp, log
from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, loss_signature, wide_vectors
from fastbp.core.ir.lanes import Lanes, Scalar
from fastbp.core.ir.memory import load_lanes, store_lanes
from fastbp.core.ir.packed_rows import Abreast, columns_of
from fastbp.core.ir.traced import maximum, narrowed, select, widened
from fastbp.core.ir.types import INT64, Mask, spread

MOST_CLASSES = 4
"""Of more, softmax is faster where examples are turned: it has one exponential for each output, and no more."""


def is_few(width, size):
    """Whether a vector has room for two examples."""
    return 2 * width <= lanes_of(size)


def are_few_classes(width, size):
    """Whether softmax is made so."""
    return is_few(width, size) and width <= MOST_CLASSES


class Outputs:
    """Of some examples abreast, as instructions in the making; `numbers` are one of each example, in another vector."""

    def __init__(self, builder, number, lanes, width):
        self.builder, self.abreast = builder, Abreast(builder, number, lanes, width)
        self.numbers = Abreast(builder, number, self.abreast.rows, 1)
        self.j = [i % self.abreast.columns for i in range(lanes)]
        self.whole, self.width = width == self.abreast.columns, width
        self.present = Lanes(builder, Mask(lanes).llvm([int(j < width) for j in self.j]))

    def here(self, x, other):
        """x where there is an output, else the other."""
        return x if self.whole else select(self.present, x, other)

    def combined(self, x, combine):
        """In all lanes of an example, all of them by halves."""
        bit = self.abreast.columns // 2
        while bit:
            x = combine(x, x.new(self.abreast.picked(x.value, [i ^ bit for i in range(self.abreast.lanes)])))
            bit //= 2
        return x

    def sum(self, x):
        return self.combined(x, lambda x, y: x + y)

    def powers(self, z):
        """e^(z_j - max z), their sum and max z."""
        top = self.combined(self.here(z, -math.inf), maximum)
        e = self.here(exp(z - top), 0.0)
        return e, self.sum(e), top

    def one(self, x):
        """The first lane of each example, as numbers."""
        return x.new(self.abreast.picked(x.value, range(0, self.abreast.lanes, self.abreast.columns)))

    def all(self, numbers):
        """Each number in all lanes of its example."""
        return numbers.new(self.abreast.picked(numbers.value, [i // self.abreast.columns for i in range(len(self.j))]))

    def at(self, pointer, n, row):
        return self.builder.gep(pointer, [self.builder.mul(n, row)])

    def load(self, pointer, n, row, last):
        return Lanes(self.builder, self.abreast.load(self.abreast.pointers(self.at(pointer, n, row), row, last)))

    def store(self, x, pointer, n, row, last):
        self.abreast.store(x.value, self.abreast.pointers(self.at(pointer, n, row), row, last))

    def load_numbers(self, pointer, n, last):
        at, vector = self.at(pointer, n, INT64(1)), self.numbers.vector
        if last is None:
            return Lanes(self.builder, load_lanes(self.builder, at, vector, Mask(vector.lanes, full=True), None))
        return Lanes(self.builder, self.numbers.load(self.numbers.pointers(at, INT64(1), last)))

    def store_numbers(self, x, pointer, n, last):
        at, vector = self.at(pointer, n, INT64(1)), self.numbers.vector
        if last is None:
            store_lanes(self.builder, at, vector, x.value, Mask(vector.lanes, full=True), None)
        else:
            self.numbers.store(x.value, self.numbers.pointers(at, INT64(1), last))

    def weights(self, same, pointer, n, w_row, last, scale):
        """Numbers: the examples' weights w, and w · scale; or the `same` pair if w_row is 0."""
        before = self.builder.block
        with self.builder.if_then(self.builder.icmp_signed("!=", w_row, INT64(0))):
            weight = self.load_numbers(pointer, n, last)
            own, inside = (weight, scaled(weight, scale)), self.builder.block
        both = []
        for first, second in zip(same, own, strict=True):
            either = self.builder.phi(first.value.type)
            either.add_incoming(first.value, before)
            either.add_incoming(second.value, inside)
            both.append(Lanes(self.builder, either))
        return both


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


def nan_unless_class(x, c, width):
    """x where c is a class index 0 … width - 1, else NaN."""
    return select(functools.reduce(operator.or_, (c == float(j) for j in range(width))), x, math.nan)


def cross_entropy(outputs, z, c, weight, factor):
    """Of class indices: w (log Σ_i e^z_i - z_c), and w (p_j - [j = c]), scaled; NaN for a class that there is not."""
    e, total, top = outputs.powers(z)
    total_n = nan_unless_class(outputs.one(total), c, outputs.width)
    hit, share = z.new(z.value.type(outputs.j)) == outputs.all(c), factor / total_n
    z_c = outputs.one(outputs.sum(select(hit, z, 0.0)))
    cost = weight * (log(total_n) + (outputs.one(top) - z_c))
    return cost, outputs.all(share) * select(hit, e - total, e)


# --- kernels --------------------------------------------------------------------------------------------------------


def all_examples(width, targets, lanes, formula):
    """The loop over all examples, as a function of compiled code; targets: numbers of y for one, `width` or 1."""

    @intrinsic
    def loop(typingctx, d, costs, x, y, weights, w_row, rows, stride, scale):
        def codegen(context, builder, sig, args):
            d, costs, x, y, weights, w_row, rows, stride, scale = args
            outputs = Outputs(builder, sig.args[0].dtype, lanes, width)
            scale = Scalar(scale)
            same = Lanes(builder, spread(builder, builder.load(weights), outputs.numbers.lanes))
            pair = same, scaled(same, scale)

            def some(n, last):
                x_n = outputs.load(x, n, stride, last)
                y_n = outputs.load(y, n, INT64(width), last) if targets > 1 else outputs.load_numbers(y, n, last)
                cost, delta = formula(outputs, x_n, y_n, *outputs.weights(pair, weights, n, w_row, last, scale))
                outputs.store(delta, d, n, stride, last)
                outputs.store_numbers(cost, costs, n, last)

            outputs.abreast.each(rows, some)
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(d, costs, x, y, weights, i64, i64, i64, types.float64), codegen

    return loop


def loss_of_few(formula, vectors, name, size, width, targets, parameters=()):
    """The kernel of a formula for `width` outputs and `targets` numbers of y, on so many vectors at once."""
    loop = all_examples(width, targets, vectors * lanes_of(size), formula)

    @kernel(loss_signature(size), name, size, width, targets, *parameters)
    def loss_of_few(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        loop(d, costs, x, y, weights, w_row, rows, stride, scale)

    return loss_of_few


@functools.cache
def elementwise_of_few(value, derivative, size, width, parameters=()):
    """`elementwise` of layers/loss.py."""
    formula = elementwise(lambda x, y: value(x, y, *parameters), lambda x, y: derivative(x, y, *parameters))
    return loss_of_few(formula, 1, value.__name__, size, width, width, parameters)


@functools.cache
def few_classes(size, width):
    """`softmax_cross_entropy.wide_classes`, on as many examples as a vector has lanes: one logarithm for all."""
    return loss_of_few(cross_entropy, columns_of(width), "classes", size, width, 1)


@functools.cache
def softmax_of_few(size, width):
    """`wide_softmax` of layers/activation_kernels.py."""

    @intrinsic
    def loop(typingctx, a, z, rows, stride):
        def codegen(context, builder, sig, args):
            a, z, rows, stride = args
            outputs = Outputs(builder, sig.args[0].dtype, lanes_of(size), width)

            def some(n, last):
                e, total, _ = outputs.powers(outputs.load(z, n, stride, last))
                outputs.store(e / total, a, n, stride, last)

            outputs.abreast.each(rows, some)
            return context.get_dummy_value()

        return types.void(a, z, types.int64, types.int64), codegen

    @kernel(VOID(POINTERS[size], POINTERS[size], INT, INT, INT), size, width)
    def softmax_of_few(a, z, rows, width, stride):
        wide_vectors()
        loop(a, z, rows, stride)

    return softmax_of_few
