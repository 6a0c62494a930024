"""What all derivatives share from Python: workspaces, the cut into shards and their sum."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.core import workspace
from fastbp.core.derivatives import frame
from fastbp.core.slots import Net
from fastbp.engine.inference import scratch
from fastbp.engine.network_table import address
from fastbp.engine.team import each

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


def summed(parts: list[tuple[int, int]], theta: Array, fill: Callable[[int, int, int], None]) -> Array:
    """The sum of a vector like theta of each part, in their order, as kernels add shards.

    fill(begin, end, address) overwrites the vector at the address by that of the rows begin … end - 1; each part may
    run on another thread.
    """
    vectors = np.empty((len(parts), theta.size), theta.dtype)
    address_of = {begin: address(vector) for (begin, _), vector in zip(parts, vectors, strict=True)}
    each(lambda begin, end: fill(begin, end, address_of[begin]), parts)
    total: Array = vectors[0]
    for vector in vectors[1:]:
        total += vector
    return total
