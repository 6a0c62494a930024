"""The progress of a fit: a bar in terminals and notebooks, a line every few seconds in log files."""

import sys
import time
from types import TracebackType
from typing import Any

from fastbp.callbacks import State

LOG_SECONDS = 10.0
"""Between two lines of a log file."""


class ProgressBar:
    """Shows epochs done, cost, validation cost and metrics on stderr; a context manager."""

    def __init__(self, epochs: int) -> None:
        from tqdm import auto  # slow to import, and needed only here

        self.format, self.epochs, self.done = auto.std_tqdm.format_meter, epochs, 0.0
        self.text = ""
        self.start = self.shown = time.perf_counter()
        self.bar: Any = None
        if auto.notebook_tqdm is not auto.std_tqdm or sys.stderr.isatty():
            kind = type("Bar", (auto.tqdm,), {"monitor_interval": 0})  # no thread that outlives the fit
            self.bar = kind(total=epochs, unit="epoch", dynamic_ncols=True, miniters=0)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is None:
            self._print()
            return
        self.bar.set_postfix_str(self.text, refresh=False)
        self.bar.refresh()
        self.bar.close()

    def show(self, epochs: float, state: State) -> None:
        """Show the number of completed epochs of this fit, fractions included."""
        values = {"cost": state.cost, "validation": state.validation_cost, **state.metrics}
        self.done = int(epochs) if epochs == int(epochs) else round(epochs, 2)
        self.text = ", ".join(f"{name}={value:.4g}" for name, value in values.items() if value is not None)
        if self.bar is not None:
            self.bar.set_postfix_str(self.text, refresh=False)
            self.bar.n = self.done
            self.bar.update(0)
        elif time.perf_counter() - self.shown >= LOG_SECONDS:
            self._print()

    def _print(self) -> None:
        self.shown = time.perf_counter()
        line = self.format(
            self.done, self.epochs, self.shown - self.start, unit="epoch", ascii=True, postfix=self.text
        )  # fmt: skip
        print(line, file=sys.stderr, flush=True)
