"""One module for each library that is compared; none imports its library at the top.

A module has `packages` (what must be installed), `set_threads(n)`, called before the library is imported, `version()`
and `tasks`: the name of a task -> prepare(case, X, y, layers) -> Task.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastbp.bench.cases import Array


class Task(NamedTuple):
    """run(): one round, which is over when it returns; outputs(): what the network gives for X then."""

    run: Callable[[], object]
    outputs: Callable[[], Array]
