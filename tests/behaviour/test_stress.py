"""Each scenario of the stress program, once: forks, threads, signals, busy cores, folders that cannot be written."""

import sys
from collections import Counter

import pytest
import stress

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")]


@pytest.mark.parametrize("name", stress.SCENARIOS)
def test_nothing_fails_hangs_or_changes_a_bit(name):
    if name == "loky":
        pytest.importorskip("joblib")
    assert stress.run(name) == ""


def test_the_program_fails_where_a_scenario_failed_or_did_not_run(capsys):
    once = Counter(dict.fromkeys(stress.SCENARIOS, 1))
    assert stress.report(once, Counter()) == 0
    assert capsys.readouterr().out.count("     1 x ") == len(stress.SCENARIOS)
    assert stress.report(once, Counter({"spawn": 1})) == 1
    assert "1 x spawn, 1 failed" in capsys.readouterr().out
    once["loky"] = 0
    assert stress.report(once, Counter()) == 1
    assert "not run for want of time: loky" in capsys.readouterr().out


def test_many_tiny_fits_leave_time_for_the_scenarios():
    assert stress.WARM_UP < stress.tiny_fits(100_000, seconds=0.5) < 100_000
