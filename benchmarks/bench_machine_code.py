"""The machine code of the kernels: figures that change only if the code does."""

import platform
from typing import Any

from benchmarks import assembly
from fastbp.core import embedded
from fastbp.core.formulas import optimizers
from fastbp.core.ir.kernel import Kernel, registers
from fastbp.core.layers import activation_kernels, forward_backward, softmax
from fastbp.core.matmul import few_columns, forms, gemm, packed_weights, transpose
from fastbp.core.step import examples, gradient_and_update, train, update_in_place
from fastbp.core.step.update import update

SIZES = {"float32": 4, "float64": 8}
COLUMNS = forms.TILES[registers()[1]]
Figures = dict[tuple[str, str], dict[str, int]]
TASKS = (
    ("squared error", "squared_error", "identity", False),
    ("softmax and cross-entropy", "cross_entropy", "softmax", True),
    ("sigmoid and cross-entropy", "binary_cross_entropy", "sigmoid", False),
)


def kernels(size: int) -> dict[str, Kernel]:
    """All kernels of a training step with numbers of `size` bytes, and those of `fastbp.jit`."""
    found = {f"panel of {columns}": gemm.panel(size, columns, 0) for columns in COLUMNS}
    found |= {f"panel of {columns} with biases": gemm.biased_panel(size, columns, 0) for columns in COLUMNS}
    found |= {f"{rows} rows of a panel": gemm.low_panel(size, 1, 0, rows) for rows in forms.LOW}
    found["few_columns"] = few_columns.few_columns(size, 16, 2)
    for name in activation_kernels.ACTIVATIONS:
        found |= {
            name: activation_kernels.forward(name, size, 16),
            f"{name} backward": activation_kernels.backward(name, size),
        }
    for name, loss, output, classes in TASKS:
        for width in (2, 10):
            found[f"{name} of {width}"] = loss.loss_kernel(loss, output, width, classes, size)[0]
    found |= {f"softmax of {width}": activation_kernels.forward("softmax", size, width) for width in (2, 10)}
    found |= {rule: update(rule, size) for rule in optimizers.RULES}
    makers = (
        softmax.wide.wide_softmax, gemm.dense, transpose.transpose, forward_backward.forward,
        forward_backward.backward, forward_backward.sums, examples.halves, examples.examples,
        gradient_and_update.gradient_share, gradient_and_update.update_share,
        gradient_and_update.gradient_and_update_share, train.train, update_in_place.update_in_place,
        embedded.predict, embedded.predict_packed, embedded.gradient,
        packed_weights.pack, packed_weights.packed_dense,
    )  # fmt: skip
    return found | {maker.__name__: maker(size) for maker in makers}


def counted(kernel: Kernel, size: int) -> dict[str, int]:
    return {
        "packed": assembly.count(kernel, "p", size),
        "scalar": assembly.count(kernel, "s", size),
        "calls": len(assembly.calls_by_name(kernel)),
    }


class MachineCode:
    """0 calls and 0 scalars are expected, except for memset, memcpy, sines of large numbers, and the few
    coefficients of an update.
    """

    params: Any = (list(kernels(4)), list(SIZES))
    param_names = ("kernel", "dtype")
    timeout = 600

    def setup_cache(self) -> Figures:
        """Every kernel is compiled again, once for all three figures."""
        if platform.machine() != "x86_64":
            return {}
        return {
            (name, dtype): counted(kernel, size)
            for dtype, size in SIZES.items()
            for name, kernel in kernels(size).items()
        }

    def setup(self, figures: Figures, name: str, dtype: str) -> None:
        if not figures:
            raise NotImplementedError("reads x86-64 assembly")

    def track_packed(self, figures: Figures, name: str, dtype: str) -> int:
        """Floating-point instructions on vectors."""
        return figures[name, dtype]["packed"]

    def track_scalar(self, figures: Figures, name: str, dtype: str) -> int:
        """Floating-point instructions on single numbers."""
        return figures[name, dtype]["scalar"]

    def track_calls(self, figures: Figures, name: str, dtype: str) -> int:
        """Functions that are called by name, memset and memcpy among them."""
        return figures[name, dtype]["calls"]

    track_packed.unit = track_scalar.unit = "instructions"
    track_calls.unit = "functions"


class Panels:
    """The inner loop of the three sums, in which a step spends its time."""

    params: Any = (list(COLUMNS), list(SIZES))
    param_names = ("columns", "dtype")

    def setup(self, columns: int, dtype: str) -> None:
        if platform.machine() != "x86_64":
            raise NotImplementedError("reads x86-64 assembly")

    def track_instructions(self, columns: int, dtype: str) -> float:
        """Instructions of all kinds for each multiply-add; 1 would be the limit."""
        return assembly.per_multiply_add(gemm.panel(SIZES[dtype], columns, 1), SIZES[dtype])

    track_instructions.unit = "instructions"
