"""Guard pages themselves: one element too far kills the process, and what is written on the other side is noticed."""

import signal
import subprocess
import sys
from pathlib import Path

import guard
import numpy as np
import pytest
from guard import PAGE, SIDES, Guard, Side

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no mprotect")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape", [1, 7, (3, 5), (1024, 4), (0,), ()])
def test_a_guarded_array_is_an_array(shape: int | tuple[int, ...], dtype: str, side: Side) -> None:
    guard = Guard(side)
    a = guard.empty(shape, dtype)
    edge = a.ctypes.data + (a.nbytes if side == "end" else 0)
    assert edge % PAGE == 0
    assert a.shape == np.empty(shape).shape
    assert a.dtype == dtype
    assert a.flags.c_contiguous
    a[...] = 3
    b = guard.copy(a, writeable=False)
    assert (b == 3).all()
    assert not b.flags.writeable
    guard.check()
    assert (a == 3).all()  # an array outlives its guard


CHILD = """
import ctypes, sys
sys.path.insert(0, {folder!r})
import guard
from guard import Guard
a = Guard({side!r}).empty(70, "float32")
at = a.ctypes.data + 4 * {index}
print("before", flush=True)
(ctypes.c_float.from_address(at)).value {action}
print("after", flush=True)
"""


@pytest.mark.parametrize("action", ["", "= 1"], ids=["read", "write"])
@pytest.mark.parametrize("side", SIDES)
def test_a_child_that_goes_one_element_too_far_dies(side: Side, action: str) -> None:
    code = CHILD.format(
        folder=str(Path(guard.__file__).parent), side=side, index=70 if side == "end" else -1, action=action
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (child.returncode, child.stdout) == (-signal.SIGSEGV, "before\n"), child.stderr


@pytest.mark.parametrize("side", SIDES)
def test_writing_into_the_slack_on_the_other_side_is_noticed(side: Side) -> None:
    guard = Guard(side)
    guard.empty(5, "float32")
    assert guard.intact()
    inside, used = guard.made[0]
    inside[used.start - 1 if side == "end" else used.stop] = 0
    assert not guard.intact()
