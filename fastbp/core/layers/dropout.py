"""Dropout: which units of a hidden layer count for an example in an epoch, from a counter-based generator.

    a_j ← a_j m_j / (1 - p)        m_j = 0 with probability p, else 1      forward
    da_j ← da_j m_j / (1 - p)                                              backward

(Srivastava et al., JMLR 2014; scaled while training, so that prediction needs no factor). The factors m_j / (1 - p) are
a function of (seed, epoch, layer, example, unit) alone, by Philox4x32-10 (Salmon et al., Parallel random numbers: as
easy as 1, 2, 3, SC 2011): its key is the seed, its counter (16 g + i, layer, example, epoch), and its words w = 0 … 3
are for the units j = 64 g + 16 w + i. So they are the same for any number of threads and lanes, and for both dtypes.
"""

import functools

from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import every, first, integers_at, load, shift, store
from fastbp.core.ir.traced import minimum, select, traced
from fastbp.core.ir.words import at_least, floats_like, low_words, product
from fastbp.core.layers.forward_backward import place
from fastbp.core.slots import JOB, NET, layer_of

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  # added to the key after each round
ROUNDS = 10
STEPS = 1 << 32
"""A fraction is a whole number of 1 / STEPS: what a word of the generator is compared with."""


def in_steps(fraction):
    """The fraction as the network table holds it: Layer.dropout."""
    return min(round(fraction * STEPS), STEPS - 1)


def word(number):
    """The number modulo 2^32, as LLVM writes an i32."""
    return (number + STEPS // 2) % STEPS - STEPS // 2


def philox(counter, key):
    """Four words for a counter of four words and a key of two: Philox4x32-10."""
    for i in range(ROUNDS):
        (high_0, low_0), (high_2, low_2) = product(counter[0], MULTIPLIERS[0]), product(counter[2], MULTIPLIERS[1])
        key_0, key_1 = (part + word(i * step) for part, step in zip(key, WEYL, strict=True))
        counter = high_2 ^ counter[1] ^ key_0, low_2, high_0 ^ counter[3] ^ key_1, low_0
    return counter


@functools.cache
def factors(size):
    """Overwrites the factors of `rows` examples from `row` on, `position` being the first in the order, in all layers.

    Kernel (net, job, epoch, position, work, capacity, row, rows); epochs count from the job's first.
    """
    lanes, P = lanes_of(size), POINTERS[size]

    @traced
    def four(units, layer, example, epoch, seed, dropout, scale):
        """f_j of the counters `units` and the lanes - 1 after it: for j, j + 16, j + 32 and j + 48."""
        units, layer, example, epoch, low, high, least = (
            low_words(number, lanes) for number in (units, layer, example, epoch, seed, seed // STEPS, dropout)
        )
        words = philox((units + units.lanewise(range(lanes)), layer, example, epoch), (low, high))
        zero = floats_like(units, size, 0.0)
        return tuple(select(at_least(word, least), zero.spread(scale), zero) for word in words)

    @kernel(VOID(NET, JOB, INT, INT, P, INT, INT, INT), size)
    def factors(net, job, epoch, position, work, capacity, row, rows):
        wide_vectors()
        numbers, epoch, seed = integers_at(job.numbers), job.epoch + epoch, job.seed
        for l in range(net.layers):
            layer = layer_of(net, l)
            dropout, stride = layer.dropout, layer.stride
            scale = 1.0 / (1.0 - dropout / STEPS)
            for n in range(rows if dropout != 0 else 0):
                f = place(work, capacity, row + n, layer, layer.factors)
                example = position + n
                if job.numbers != 0:
                    example = numbers[position + n]
                for j in range(0, stride, 64):
                    for i in range(0, minimum(16, stride - j), lanes):
                        f_0, f_1, f_2, f_3 = four(j // 4 + i, l, example, epoch, seed, dropout, scale)
                        at, left = shift(f, j + i), stride - j - i
                        store(at, f_0, first(left, lanes))
                        store(shift(at, 16), f_1, first(left - 16, lanes))
                        store(shift(at, 32), f_2, first(left - 32, lanes))
                        store(shift(at, 48), f_3, first(left - 48, lanes))

    return factors


@functools.cache
def drop(size):
    """Kernel (out, x, factors, rows, stride). Overwrites out: x_j f_j; out may be x."""
    lanes, P = lanes_of(size), POINTERS[size]
    multiply = traced(lambda x, f: x * f)

    @kernel(VOID(P, P, P, INT, INT), size)
    def drop(out, x, factors, rows, stride):
        wide_vectors()
        for i in range(0, rows * stride, lanes):
            x_i, f_i = load(shift(x, i), every(lanes)), load(shift(factors, i), every(lanes))
            store(shift(out, i), multiply(x_i, f_i), every(lanes))

    return drop
