"""The elementwise losses of loss_kernels.py for a few outputs: several examples abreast in one vector."""

import functools

from numba.core import types
from numba.extending import intrinsic

from .abreast import Abreast
from .compile import kernel, lanes_of, loss_signature, wide_vectors
from .memory import store_lanes
from .simd import INT64, Mask, spread
from .traced import select
from .values import Lanes, Scalar


def is_narrow(width, size):
    """Whether a vector has room for two examples."""
    return 2 * width <= lanes_of(size)


class Code:
    """The instructions of the kernel in the making."""

    def __init__(self, builder, number, lanes, width, loss):
        self.builder, self.abreast, self.loss = builder, Abreast(builder, number, lanes, width), loss
        self.number = Abreast(builder, number, self.abreast.rows, 1)
        columns, vector = self.abreast.columns, self.abreast.vector
        self.present = self.abreast.masked(vector, lanes)[1]
        if width < columns:
            self.present = Mask(lanes).llvm([int(i % columns < width) for i in range(lanes)])

    def lanes(self, vector):
        return Lanes(self.builder, vector)

    def counted(self, weight):
        """The lanes that count: outputs of examples whose weight is not 0."""
        mask = weight != 0.0
        return mask if self.present is None else mask & self.lanes(self.present)

    def results(self, x, y, weight, scale):
        """w c(x, y) of every output, and its derivative, scaled."""
        value, derivative = self.loss
        mask, factor = self.counted(weight), weight * scale
        return select(mask, value(x, y), 0.0) * weight, select(mask, derivative(x, y) * factor, 0.0)

    def weights(self, pointer, w_row, last):
        """Of the examples, in all lanes of each."""
        numbers = self.number.load(self.number.pointers(pointer, w_row, last))
        return self.abreast.picked(numbers, [i // self.abreast.columns for i in range(self.abreast.lanes)])

    def store_sums(self, x, pointer, last):
        """Overwrites a number of each example by the sum over its lanes, by halves."""
        bit = self.abreast.columns // 2
        while bit:
            x = x + self.lanes(self.abreast.picked(x.value, [i ^ bit for i in range(self.abreast.lanes)]))
            bit //= 2
        sums = self.abreast.picked(x.value, range(0, self.abreast.lanes, self.abreast.columns))
        if last is None:
            store_lanes(self.builder, pointer, self.number.vector, sums, *self.number.masked(self.number.vector, 64))
        else:
            self.number.store(sums, self.number.pointers(pointer, INT64(1), last))


def all_examples(width, lanes, loss):
    """The loop over all examples, as a function of compiled code."""

    @intrinsic
    def loop(typingctx, d, costs, x, y, weights, w_row, rows, stride, scale):
        def codegen(context, builder, sig, args):
            d, costs, x, y, weights, w_row, rows, stride, scale = args
            code = Code(builder, sig.args[0].dtype, lanes, width, loss)
            one_for_all = spread(builder, builder.load(weights), lanes)

            def some(n, last):
                def at(pointer, row):
                    return builder.gep(pointer, [builder.mul(n, row)])

                x_n, y_n = (
                    code.lanes(code.abreast.load(code.abreast.pointers(at(pointer, row), row, last)))
                    for pointer, row in ((x, stride), (y, INT64(width)))
                )
                before = builder.block
                with builder.if_then(builder.icmp_signed("!=", w_row, INT64(0))):
                    own, inside = code.weights(at(weights, w_row), w_row, last), builder.block
                weight = builder.phi(one_for_all.type)
                weight.add_incoming(one_for_all, before)
                weight.add_incoming(own, inside)
                cost, delta = code.results(x_n, y_n, code.lanes(weight), Scalar(scale))
                code.abreast.store(delta.value, code.abreast.pointers(at(d, stride), stride, last))
                code.store_sums(cost, at(costs, INT64(1)), last)

            code.abreast.each(rows, some)
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(d, costs, x, y, weights, i64, i64, i64, types.float64), codegen

    return loop


@functools.cache
def narrow_elementwise(value, derivative, size, width, parameters=()):
    """As `elementwise`, for `width` outputs."""
    loss = (lambda x, y: value(x, y, *parameters)), (lambda x, y: derivative(x, y, *parameters))
    loop = all_examples(width, lanes_of(size), loss)

    @kernel(loss_signature(size), value.__name__, size, width, *parameters)
    def narrow_elementwise(d, costs, spare, x, y, weights, w_row, rows, width, stride, scale):
        wide_vectors()
        loop(d, costs, x, y, weights, w_row, rows, stride, scale)

    return narrow_elementwise
