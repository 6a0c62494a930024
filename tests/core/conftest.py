"""Every kernel in both precisions, on memory that ends, or begins, at an inaccessible page."""

import sys
from collections.abc import Iterator

import pytest
from guard import SIDES, Guard
from kernel_calls import DTYPES


@pytest.fixture(params=DTYPES, ids=list(DTYPES.values()))
def size(request: pytest.FixtureRequest) -> int:
    """Bytes of an element."""
    return request.param


@pytest.fixture(params=SIDES)
def guard(request: pytest.FixtureRequest) -> Iterator[Guard]:
    """Makes arrays that touch a guard page at their end, and then at their beginning; see guard.py."""
    if sys.platform == "win32":
        pytest.skip("no mprotect")
    guard = Guard(request.param)
    yield guard
    guard.check()
