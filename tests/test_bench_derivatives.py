"""`benchmarks.derivatives`: its goals, and that what it times is what it says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import derivative_calls
from benchmarks.derivatives import Row
from fastbp import jit_arguments


def test_a_goal_is_met_at_its_bound_and_on_its_side():
    assert Row("", "", 2.5, "predictions", 2.5).verdict == "ok"
    assert Row("", "", 2.51, "predictions", 2.5).verdict == "missed"
    assert Row("", "", 3.0, "of ours", 3, at_least=True).verdict == "ok"
    assert Row("", "", 2.99, "of ours", 3, at_least=True).verdict == "missed"
    assert Row("", "", 2.99, "seconds").verdict == ""


def test_ratios_are_those_within_a_round():
    measured = {"it": [2.0, 30.0, 3.0], "base": [1.0, 10.0, 3.0]}
    assert derivative_calls.ratio(measured, "it", "base") == 2.0


def test_the_deltas_of_the_inputs_are_a_part_of_a_gradient():
    assert derivative_calls.deltas_of_inputs((3, 5)) == 2 / 4  # forward and dw of one layer
    assert derivative_calls.deltas_of_inputs((2, 3, 4)) == pytest.approx(12 / (6 * 18 - 12))


def test_the_kernel_of_taylor_gets_what_it_takes():
    model = derivative_calls.network((3, 20, 2), "float64")
    run, (X, V, *found) = derivative_calls.taylor(model, 5)
    run(2)
    for a, b in zip(found, model.taylor(X, V, order=2), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_kernel_of_norms_gets_what_it_takes():
    model = derivative_calls.network((3, 20, 2), "float64")
    run, (X, y, found) = derivative_calls.norms(model, 5)
    run(2)
    np.testing.assert_array_equal(found, model.example_gradient_norms(X, y))


@pytest.mark.parametrize("what", jit_arguments.FORMS)
def test_every_function_of_jit_can_be_timed(what):
    derivative_calls.compiled(derivative_calls.network((3, 5, 2)), what, 4)(2)


def test_the_command_prints_a_line_for_each_network():
    command = [sys.executable, "-m", "benchmarks.derivatives", "--rounds", "1", "--only", "vjp,gradient"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert all(line.endswith(("ok", "missed")) for line in lines)
