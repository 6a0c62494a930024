"""What all derivatives share from Python: workspaces, the cut into shards and their sum."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import workspace
from fastbp.core.derivatives import frame
from fastbp.core.slots import Net
from fastbp.engine.inference import scratch

Array = NDArray[Any]


def memory_for(net: NDArray[np.int64], rows: int, directions: int, orders: int) -> tuple[Array, int]:
    """A workspace for `rows` rows and its address: see `inference.scratch`."""
    return scratch(int(frame.frame_size(net, rows, directions, orders)) * int(net[Net.size]))


def shards_of(net: NDArray[np.int64], rows: int) -> list[tuple[int, int]]:
    """Begin and end of the shards of `rows` rows, whose sums over examples are added in order."""
    shards = int(workspace.shards_of(net, rows))
    return [(rows * s // shards, rows * (s + 1) // shards) for s in range(shards)]


def sum_in_order(parts: Array) -> Array:
    """The sum over the first axis, one after the other, as kernels add shards."""
    total: Array = parts[0]
    for part in parts[1:]:
        total += part
    return total
