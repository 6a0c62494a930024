"""Calls of single kernels: on arrays as pointers, over all widths, in both precisions."""

from typing import Any

import numpy as np

from fastbp.core.ir.kernel import Kernel, registers
from fastbp.core.matmul import forms, gemm

WIDTHS = (*range(1, 71), 100, 130)
DTYPES = {4: "float32", 8: "float64"}
EPSILON = {4: 2e-5, 8: 1e-13}


def run(kernel: Any, *arguments: Any) -> Any:
    """Call a kernel with arrays as pointers."""
    function = kernel.ctypes
    assert len(arguments) == len(function.argtypes)
    return function(
        *(
            a.ctypes.data_as(kind) if isinstance(a, np.ndarray) else a
            for a, kind in zip(arguments, function.argtypes, strict=True)
        )
    )


def uncached(made: Kernel) -> Kernel:
    """A test's kernel, which stays out of the library's cache on disk: its key does not name the test's source."""
    made.key = None
    return made


def close(a: Any, b: Any, size: int) -> None:
    np.testing.assert_allclose(a, b, rtol=EPSILON[size], atol=EPSILON[size])


def stride_of(width: int, size: int) -> int:
    """Elements between rows of activations: whole cache lines."""
    line = 64 // size
    return -(-width // line) * line


def panel_addresses(size: int, widths: tuple[int, ...]) -> np.ndarray:
    """The table of panels that `gemm.dense` needs for outputs of these widths."""
    panels = np.zeros(2 + max(forms.TILES[registers()[1]]), np.int64)
    for i, kernel in gemm.panels_for(size, widths).items():
        panels[i] = kernel.address
    return panels
