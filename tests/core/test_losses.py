"""Every row of the losses' table, value and derivatives, is the formula of the slow twin."""

import numpy as np
import twin
from kernel_calls import DTYPES, uncached

from fastbp.core.formulas.losses import LOSSES
from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import every, load, shift, store
from fastbp.core.ir.traced import select, traced


def test_every_loss_and_its_derivatives_are_the_twins(size):
    """Value, first and second derivatives: all formulas in one kernel, which gets the index of one."""
    rng = np.random.default_rng(1)
    m, s, y = rng.uniform(0.1, 0.9, (3, 64)).astype(DTYPES[size])
    column = {name: values.astype(float)[:, None] for name, values in (("m", m), ("s", s), ("y", y))}
    formulas, expected = [], []
    for name, row in LOSSES.items():
        parameters = {"huber": (0.3,), "quantile": (0.8,)}.get(name, ())
        its_twin = twin.LOSSES[{"huber": "huber(0.3)", "quantile": "quantile(0.8)"}.get(name, name)]
        a = np.hstack([column["m"], column["s"]]) if name == "gaussian_nll" else column["m"]
        pairs = name == "gaussian_nll"
        inputs = (lambda m, s, y: (m, s, y)) if pairs else (lambda m, s, y: (m, y))
        parts = [(row.value, 0), (row.derivative, 0), (row.second, 0)]
        if pairs:
            parts = [(row.value, 0), (row.derivative, 0), (row.derivative, 1), (row.second, 0), (row.second, 2)]
        columns = [part(a, column["y"]).reshape(64, -1).T for part in (its_twin.value, its_twin.delta, its_twin.second)]
        formulas += [
            lambda m, s, y, part=part, i=i, inputs=inputs, parameters=parameters: of(
                part(*inputs(m, s, y), *parameters), i
            )
            for part, i in parts
        ]
        expected += [*np.vstack(columns)]
    found = computed(formulas, m, s, y)
    assert len(found) == 3 * len(LOSSES) + 2
    np.testing.assert_allclose(found, expected, rtol={4: 3e-5, 8: 1e-13}[size], atol=1e-7)


def of(result, i):
    """The i-th number of a formula that has several."""
    return result[i] if isinstance(result, tuple) else result


def computed(formulas, m, s, y):
    """Each formula of each (m, s, y): an array (formulas, len(m))."""
    size = m.itemsize
    lanes, P = lanes_of(size), POINTERS[size]

    @traced
    def switch(number, m, s, y):
        value = m.constant(np.nan)
        for i, formula in enumerate(formulas):
            value = select(number == float(i), formula(m, s, y), value)
        return value

    @kernel(VOID(P, P, P, P, P, INT))
    def all_formulas(out, number, m, s, y, count):
        wide_vectors()
        whole = every(lanes)
        for i in range(0, count, lanes):
            value = switch(
                load(shift(number, i), whole),
                load(shift(m, i), whole),
                load(shift(s, i), whole),
                load(shift(y, i), whole),
            )
            store(shift(out, i), value, whole)

    number = np.repeat(np.arange(len(formulas)), len(m)).astype(m.dtype)
    arrays = [np.empty_like(number), number, *(np.tile(values, len(formulas)) for values in (m, s, y))]
    uncached(all_formulas).ctypes(*(array.ctypes.data for array in arrays), len(number))
    return arrays[0].reshape(len(formulas), -1)
