"""Views: a field is read and written by its name, in compiled code where Python finds it by its offset."""

from typing import Annotated

import numpy as np
import pytest
from kernel_calls import run, uncached

from fastbp.core.ir.kernel import DOUBLE, INT, INTEGERS, VOID, kernel
from fastbp.core.ir.traced import traced
from fastbp.core.ir.views import LINE, Number, OfArray, Panels, Real, Slot, Table, View, calling, viewing


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


def test_traced_functions_read_numbers_by_their_names() -> None:
    sum_of_ends = traced(lambda sample: sample.first + sample.last)
    of_real = traced(lambda sample: sample.real + 0)

    @kernel(INT(View(Sample)))
    def ends(sample):
        return sum_of_ends(sample)

    @kernel(INT(View(Sample)))
    def number_of_a_float(sample):
        return of_real(sample)

    table = np.zeros(Sample.slots, np.int64)
    table[[Sample.first, Sample.last]] = 3, 40
    assert run(uncached(ends), table) == 43
    with pytest.raises(AttributeError, match="has no number real"):
        uncached(number_of_a_float).uncached().compile()


def test_a_call_flattens_tuples_and_passes_the_table_if_asked() -> None:
    class Calls(Table):
        out: Number
        weighted: Number

    weighted = calling("weighted", with_table=True, result=INT)

    @kernel(INT(View(Calls), INT, DOUBLE, INT))
    def callee(calls, a, b, c):
        calls.out = a
        return int(b) * 10 + c

    @kernel(INT(View(Calls), INT))
    def caller(calls, a):
        return weighted(calls, (a, (2.0, 3)))

    table = np.array([0, uncached(callee).address])
    assert run(uncached(caller), table, 5) == 23
    assert table[Calls.out] == 5
