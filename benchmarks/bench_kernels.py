"""The kernels of the core, by width and dtype: one core, 128 examples."""

from typing import Any

from benchmarks import kernels

CALLS = 100


class Kernels:
    """CALLS calls from a compiled loop; what each operates on is in `benchmarks.kernels`."""

    params: Any = (list(kernels.KERNELS), list(kernels.WIDTHS), list(kernels.DTYPES))
    param_names = ("kernel", "width", "dtype")

    def setup(self, name: str, width: int, dtype: str) -> None:
        self.work = kernels.KERNELS[name](width, dtype)
        kernels.repeat(1, self.work.address, self.work.arguments)

    def time_calls(self, name: str, width: int, dtype: str) -> None:
        """100 calls."""
        kernels.repeat(CALLS, self.work.address, self.work.arguments)


class Peak:
    """The machine's speed at that time: compare it before attributing a change to a commit."""

    params = list(kernels.DTYPES)
    param_names = ("dtype",)

    def setup(self, dtype: str) -> None:
        self.work = kernels.peak(dtype)
        self.work.seconds()

    def time_multiply_adds(self, dtype: str) -> None:
        """120,000 vectors of them, in registers."""
        kernels.repeat(1, self.work.address, self.work.arguments)
