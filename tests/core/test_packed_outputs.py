"""A few outputs, with several examples in one vector: an example gives the same bits alone and among others."""

import numpy as np
import pytest
import twin
from guard import Guard
from kernel_calls import DTYPES, close, run, stride_of

from fastbp.core.ir.kernel import lanes_of
from fastbp.core.layers.loss import loss_kernel
from fastbp.core.layers.softmax.packed import packed_softmax
from fastbp.core.matmul.forms import packs_examples

ROWS = (*range(1, 40), 70, 130)


def few_widths(size: int) -> list[int]:
    return [width for width in range(1, lanes_of(size) + 1) if packs_examples(width, size)]


def test_a_width_is_few_if_a_vector_has_room_for_two_examples(size: int) -> None:
    assert few_widths(size) == list(range(1, lanes_of(size) // 2 + 1))


def test_softmax_is_the_twins_for_every_number_of_examples(size: int, guard: Guard) -> None:
    rng = np.random.default_rng(1)
    for width in few_widths(size):
        stride = stride_of(width, size)
        for rows in ROWS:
            a, z = (guard.empty((rows, stride), DTYPES[size]) for _ in range(2))
            z[:, :width] = rng.normal(size=(rows, width), scale=3)
            run(packed_softmax(size, width), a, z, rows, width, stride)
            close(a[:, :width], twin.softmax(z[:, :width].astype("f8")), size)
            one = guard.empty((1, stride), DTYPES[size])
            run(packed_softmax(size, width), one, z[rows // 2 :], 1, width, stride)
            np.testing.assert_array_equal(one[0, :width], a[rows // 2, :width])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["squared_error", "cross_entropy"])
def test_losses_have_the_same_bits_for_an_example_alone_and_among_others(
    name: str, weighted: bool, size: int, guard: Guard
) -> None:
    rng, classes = np.random.default_rng(2), name == "cross_entropy"
    for width in few_widths(size):
        kernel, _ = loss_kernel(name, "softmax" if classes else "identity", width, classes, size, classes)
        stride = stride_of(width, size)
        for rows in ROWS:
            x, d = (guard.empty((rows, stride), DTYPES[size]) for _ in range(2))
            costs, spare = (guard.empty(rows, DTYPES[size]) for _ in range(2))
            x[:, :width] = rng.normal(size=(rows, width))
            target = rng.integers(0, width, rows) if classes else rng.normal(size=(rows, width))
            y = guard.copy(target, DTYPES[size], writeable=False)
            w = guard.copy(rng.uniform(0, 2, rows if weighted else 1), DTYPES[size], writeable=False)
            run(kernel, d, costs, spare, x, y, w, weighted, rows, width, stride, 0.5)
            n = rows // 2
            d_n, cost_n, spare_n = (guard.empty(count, DTYPES[size]) for count in (stride, 1, 1))
            run(kernel, d_n, cost_n, spare_n, x[n:], y[n:], w[n * weighted :], weighted, 1, width, stride, 0.5)
            np.testing.assert_array_equal(d_n[:width], d[n, :width])
            assert cost_n[0] == costs[n]
