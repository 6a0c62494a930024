"""Every decision of matmul/forms.py suits the kernel that it sends there, for all widths."""

import pytest
from kernel_calls import WIDTHS

from fastbp.core.ir.kernel import lanes_of, registers
from fastbp.core.matmul import forms


@pytest.mark.parametrize("width", WIDTHS)
def test_softmax_takes_a_form_that_has_room_for_its_outputs(width, size):
    form, lanes = forms.softmax_form(width, size), lanes_of(size)
    assert form in ("packed", "transposed", "wide")
    assert forms.packs_examples(width, size) == (2 * width <= lanes)
    if form == "packed":
        assert forms.packs_examples(width, size)
    if form == "transposed":
        assert width <= forms.MOST_TRANSPOSED * lanes


def test_every_register_tile_leaves_registers_for_its_operands():
    for count, tiles in forms.TILES.items():
        for vectors, heights in tiles.items():
            assert max(heights) * vectors + vectors + 1 <= count
            assert list(heights) == sorted(heights, reverse=True)
    assert registers()[1] in forms.TILES


def test_few_rows_are_sent_to_the_lowest_panel_that_has_them():
    for rows in range(1, 10):
        low = forms.low_rows(rows)
        assert low == 0 or low >= rows
        assert (low == 0) == (rows > max(forms.LOW))
