"""What all derivatives share from Python: workspaces, the cut into shards and their sum."""

import functools
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
    return scratch(bytes_for(net.tobytes(), rows, directions, orders))


@functools.lru_cache(maxsize=256)
def bytes_for(table: bytes, rows: int, directions: int, orders: int) -> int:
    """Of such a workspace; kept, as it costs more than a call of a small network. table: the bytes of `net`."""
    net = np.frombuffer(table, np.int64)
    return int(frame.frame_size(net, rows, directions, orders)) * int(net[Net.size])


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
