"""Views: a field is read and written by its name, in compiled code where Python finds it by its offset."""

from typing import Annotated

import numpy as np
from kernel_calls import run, uncached

from fastbp.core.ir.kernel import DOUBLE, INTEGERS, VOID, kernel
from fastbp.core.ir.views import LINE, Number, OfArray, Panels, Real, Slot, Table, View, viewing


class Sample(Table):
    first: Number
    real: Real
    panels: Panels
    last: Number
    line: Annotated[int, Slot(new_line=True)]


def test_offsets_follow_from_the_order_of_the_fields() -> None:
    assert (Sample.first, Sample.real, Sample.panels, Sample.last) == (0, 1, 2, 8)
    assert Sample.line == 2 * LINE
    assert Sample.slots == Sample.line + 1


def test_compiled_code_and_python_see_the_same_fields() -> None:
    @kernel(DOUBLE(View(Sample)))
    def write(sample):
        sample.last = sample.first + sample.panels[5]
        sample.line = 7
        return sample.real

    table = np.zeros(Sample.slots, np.int64)
    named = OfArray(Sample, table)
    named.first, table[Sample.panels + 5] = 3, 40
    table[Sample.real : Sample.real + 1].view(np.float64)[0] = 0.25
    assert run(uncached(write), table) == 0.25
    assert (named.first, named.last, named.line) == (3, 43, 7)


def test_one_table_after_another() -> None:
    view = viewing(Sample, begin=2, step=Sample.slots)

    @kernel(VOID(INTEGERS))
    def number_all(table):
        for i in range(3):
            view(table, i).last = i + 1

    table = np.zeros(2 + 3 * Sample.slots, np.int64)
    run(uncached(number_all), table)
    assert table[2:].reshape(3, Sample.slots)[:, Sample.last].tolist() == [1, 2, 3]
    assert np.count_nonzero(table) == 3
