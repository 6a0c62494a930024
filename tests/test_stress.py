"""Each scenario of the stress program, once: forks, threads, signals, busy cores, folders that cannot be written."""

import sys

import pytest
import stress

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")]


@pytest.mark.parametrize("name", stress.SCENARIOS)
def test_nothing_fails_hangs_or_changes_a_bit(name):
    if name == "loky":
        pytest.importorskip("joblib")
    assert stress.run(name) == ""
