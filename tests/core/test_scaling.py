"""The kernels of the scaling: NumPy's bits for every width, on rows that are padded or not, in place or not."""

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, WIDTHS, run, stride_of

from fastbp import Network, Scaling
from fastbp.core.layers import scaling as kernels
from fastbp.engine.network_table import inference_table
from fastbp.network import with_scaling


@pytest.fixture(params=WIDTHS)
def width(request):
    return request.param


def table_of(width, size):
    """A network table and its scaling of `width` inputs and outputs, in the table's dtype."""
    rng = np.random.default_rng(width)
    vectors = [f(size=width) for f in (rng.normal, rng.exponential, rng.normal, rng.exponential)]
    scaling = Scaling(*(vector.astype(DTYPES[size]) + (i % 2) for i, vector in enumerate(vectors)))
    return inference_table(with_scaling(Network((width, width), (), bias=False), scaling), size), scaling


def test_rows_are_scaled_with_the_bits_of_numpy(width: int, size: int, guard: Guard) -> None:
    net, scaling = table_of(width, size)
    rows, stride = 1 + width % 3, stride_of(width, size)
    x, out, padded = (guard.empty(shape, DTYPES[size]) for shape in ((rows, width), (rows, width), (rows, stride)))
    x[:] = np.random.default_rng(0).normal(size=x.shape)
    run(kernels.standardize(size), net, padded, stride, x, width, rows, 0, width)
    np.testing.assert_array_equal(padded[:, :width], scaling.inputs(x))
    run(kernels.standardize_targets(size), net, out, x, 0, rows)
    np.testing.assert_array_equal(out, scaling.targets(x))
    order = np.arange(rows)[::-1].copy()
    run(kernels.standardize_targets(size), net, out, x, order.ctypes.data, rows)
    np.testing.assert_array_equal(out, scaling.targets(x)[::-1])
    run(kernels.restore(size), net, out, width, x, width, rows)
    mean, scale = (vector.astype(DTYPES[size]) for vector in (scaling.output_mean, scaling.output_scale))
    np.testing.assert_array_equal(out, x * scale + mean)
    run(kernels.multiply(size), net, out, width, x, width, rows, kernels.OUTPUT_SCALE)
    np.testing.assert_array_equal(out, x * scale)
    expected = x * (1 / scaling.scale).astype(DTYPES[size])
    run(kernels.multiply(size), net, x, width, x, width, rows, kernels.FACTOR)
    np.testing.assert_array_equal(x, expected)


def test_some_of_the_inputs_take_their_own_means(size: int, guard: Guard) -> None:
    net, scaling = table_of(70, size)
    x, out = (guard.empty((3, 20), DTYPES[size]) for _ in range(2))
    x[:] = np.random.default_rng(0).normal(size=x.shape)
    run(kernels.standardize(size), net, out, 20, x, 20, 3, 33, 53)
    wide = np.zeros((3, 70), DTYPES[size])
    wide[:, 33:53] = x
    np.testing.assert_array_equal(out, scaling.inputs(wide)[:, 33:53])
