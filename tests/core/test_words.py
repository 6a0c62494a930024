"""Words: products of 32 bits times 32 bits, and comparisons without signs, are those of Python's integers."""

import numpy as np
import pytest
from kernel_calls import DTYPES, run, uncached

from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of
from fastbp.core.ir.traced import from_bits, procedure, select
from fastbp.core.ir.words import at_least, floats_like, low_words, product

NUMBERS = (0, 1, 2, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xD2511F53, 0xFFFFFFFF)
LANES, P = lanes_of(4), POINTERS[4]


@pytest.mark.parametrize("multiplier", [0xD2511F53, 0xCD9E8D57])  # of Philox
def test_a_product_has_64_bits_in_two_words(multiplier: int) -> None:
    @procedure
    def store_product(out, number):
        for row, words in enumerate(product(low_words(number, LANES), multiplier)):
            (out + row * LANES).store(from_bits(words))

    @kernel(VOID(P, INT))
    def multiplied(out, number):
        store_product(out, number)

    multiplied, out = uncached(multiplied), np.zeros((2, LANES), np.float32)
    for number in (*NUMBERS, 5 + (1 << 40)):
        run(multiplied, out, number)
        whole = (number & 0xFFFFFFFF) * multiplier
        assert (out.view(np.uint32) == [[whole >> 32], [whole & 0xFFFFFFFF]]).all()


def test_comparisons_have_no_sign(size: int) -> None:
    lanes, pointer = lanes_of(size), POINTERS[size]

    @procedure
    def store_comparison(out, i, j):
        x, y = low_words(i, lanes), low_words(j, lanes)
        out.store(select(at_least(x, y), floats_like(x, size, 2.5), floats_like(x, size, 0.5)))

    @kernel(VOID(pointer, INT, INT))
    def compared(out, i, j):
        store_comparison(out, i, j)

    compared, out = uncached(compared), np.zeros(lanes, DTYPES[size])
    for i in NUMBERS:
        for j in NUMBERS:
            run(compared, out, i, j)
            assert (out == (2.5 if i >= j else 0.5)).all()
