"""`fastbp bench`: what it refuses, what it prints and writes; never how long something took."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fastbp
from fastbp import cli
from fastbp.bench import cases, measure, report

ENV = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}  # the same fastbp in other processes
TINY = ("3-4-2", "--batch", "8", "--rounds", "1", "--threads", "1")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ENV["PYTHONPATH"])


@pytest.fixture
def bench(capsys, monkeypatch):
    """bench("3-4-2", …) -> what the command printed; it has to succeed, on epochs of a few steps."""
    monkeypatch.setattr(cases, "MOST_STEPS", 20)

    def bench(*arguments):
        code = cli.main(["bench", *arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return bench


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "SIZES"),
        ("30", "expected sizes as 30-50-3, got '30'"),
        ("30-0-3", "got '30-0-3'"),
        ("30--3", "got '30--3'"),
        ("30-x-3", "got '30-x-3'"),
        ("30-50-3 64", "got '64'"),
        ("30-50-3 --batch 0", "--batch: expected an integer from 1 up, got '0'"),
        ("30-50-3 --batch -5", "--batch"),
        ("30-50-3 --batch many", "'many'"),
        ("30-50-3 --rounds 0", "--rounds"),
        ("30-50-3 --threads 1,0", "--threads"),
        ("30-50-3 --backends torch,tensorflow", "expected some of torch, jax, scikit-learn, got 'tensorflow'"),
        ("30-50-3 --loss hinge", "hinge"),
        ("30-50-3 --dtype float16", "float16"),
        ("30-50-3 --optimizer adamm", "adamm"),
        ("30-50-1", "two outputs"),
        ("30-50-3 --json none/file", "there is no folder none"),
    ],
)
def test_bad_usage(capsys, arguments, words):
    assert cli.main(["bench", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastbp: ")
    assert err.count("\n") == 1
    assert words in err
    assert os.listdir() == []


def test_bench_without_other_libraries(bench):
    out = bench(*TINY, "--backends", "", "--json", "file")
    assert f"fastbp {fastbp.__version__}\n" in out
    assert "not installed" not in out
    assert "goal" not in out
    assert re.search(r"network, rows of a step +fastbp +GF/s +lead\n +3-4-2, 8 +[\d.]+ \([\d.]+\) +[\d.]+ +-\n", out)
    assert len(re.findall(r"3-4-2, 8 ", out)) == 2  # the times, and the cost
    written = json.loads(Path("file").read_text())
    [row] = written["rows"]
    assert row["sizes"] == [3, 4, 2]
    assert row["flops"] == 8 * (6 * (12 + 8) - 2 * 12)
    [result] = row["results"]
    assert len(result["microseconds"]) == 1
    assert result["unable"] is None


def test_predictions_of_several_networks_under_other_conditions(bench, monkeypatch):
    monkeypatch.setattr(cases, "PREDICTIONS", {"bulk": (10, 2), "row": (1, 2), "compiled_row": (1, 2)})
    conditions = ("--loss", "squared_error", "--dtype", "float64", "--optimizer", "momentum")
    out = bench("4-1", *TINY, *conditions, "--predict", "--backends", "")
    assert "float64, squared_error, momentum" in out
    for network in ("4-1", "3-4-2"):
        for what in ("10, bulk", "1, row", "1, compiled row"):
            assert re.search(rf"{network}, {what} +[\d.]+ \(", out)


def test_bench_of_single_steps(bench):
    out = bench(*TINY, "--single", "--backends", "")
    assert re.search(r"3-4-2, 8, step +[\d.]+ \(", out)
    assert cli.main(["bench", *TINY, "--single", "--predict"]) == 2


def test_what_is_not_installed_is_named(bench, monkeypatch):
    nothing_there = (
        "import importlib.util, sys\nif sys.argv[2] != 'fastbp': importlib.util.find_spec = lambda name: None"
    )
    monkeypatch.setattr(measure, "PROGRAM", nothing_there + measure.PROGRAM)
    out = bench(*TINY)
    for name in ("torch", "jax", "scikit-learn"):
        assert f"{name} is not installed\n" in out
    assert re.search(r"3-4-2, 8 +[\d.]+ \(", out)


def test_what_is_broken_is_left_out():
    Path("sklearn").mkdir()
    Path("sklearn/__init__.py").write_text("raise RuntimeError('only half of it is here')")
    backend = measure.Backend("scikit-learn", 1)
    backend.close()
    assert backend.left_out == "scikit-learn is left out: RuntimeError: only half of it is here"


def test_a_backend_loads_nothing_of_numba():
    """The substitute for a backend's library says which modules its process has."""
    Path("sklearn").mkdir()
    Path("sklearn/__init__.py").write_text("import sys; __version__ = ' '.join(sys.modules)")
    backend = measure.Backend("scikit-learn", 1)
    backend.close()
    modules = backend.greeting["version"].split()
    assert "numpy" in modules
    assert not {"numba", "llvmlite", "fastbp.model"} & set(modules)


def test_a_table_with_another_library():
    """Ratios, threads, lead and goal, of given times; the better number of threads counts."""
    case = cases.Case("Z", (3, 4, 2), 8, goal=1.5)
    results = [
        measure.Measured("fastbp", None, [1.0, 2.0, 3.0], 0.5),
        measure.Measured("torch", 1, [9.0, 9.0, 9.0], 0.5),
        measure.Measured("torch", 2, [4.0, 4.0, 6.0], 0.5),
        measure.Measured("jax", 1, unable="no fit"),
    ]
    rows = [(case, results)]
    heading, line = report.times(rows, ["fastbp", "torch", "jax"]).splitlines()
    assert heading.split()[-3:] == ["GF/s", "lead", "goal"]
    assert " ".join(line.split()) == "Z 3-4-2, 8 2.00 (1.00) 4.00 (4.00) 2.00x [2] - 0.38 2.00x 1.5x"
    assert report.failures(rows) == "Z 3-4-2, 8: jax: no fit"


def test_no_other_command_imports_it():
    program = "import sys, fastbp.cli; fastbp.cli.main(['info']); sys.exit('fastbp.bench' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], env=ENV, stdout=subprocess.DEVNULL, check=True)


def test_what_is_divided_by_is_what_was_done(monkeypatch):
    """A round of predictions makes as many calls as its time is divided by."""
    from fastbp.bench.backends import fastbp_

    for case in cases.predictions(cases.own((3, 4, 2), 8, "cross_entropy", "float32", "adam"))[:2]:
        X, y = cases.data(case)
        task = fastbp_.tasks[case.task](case, X, y, cases.initial(case))
        calls = []
        monkeypatch.setattr(fastbp.Model, "predict", lambda self, X, calls=calls: calls.append(X))
        task.run()
        assert len(calls) == case.steps * case.epochs


KERNELS = """
    import numpy as np
    from benchmarks import kernels

    for name, make in kernels.KERNELS.items():
        for dtype in ("float32", "float64"):
            assert min(make(10, dtype).seconds(1e-6)) > 0, name
    net, zeros, a, out, v = (work := kernels.KERNELS["forward sum"](10, "float32")).arrays
    work.seconds(1e-6)
    expected = a.reshape(-1, 16)[: kernels.EXAMPLES, :10] @ v[:100].reshape(10, 10)
    np.testing.assert_allclose(out.reshape(-1, 16)[: kernels.EXAMPLES, :10], expected, rtol=1e-5)
    net, zeros, a, out, packed = (work := kernels.KERNELS["forward sum"](70, "float32")).arrays
    work.seconds(1e-6)
    expected = a.reshape(-1, 80)[: kernels.EXAMPLES, :70] @ packed[: 70 * 64].reshape(70, 64)
    np.testing.assert_allclose(out.reshape(-1, 80)[: kernels.EXAMPLES, :64], expected, rtol=1e-5)
    print("done")
"""


def test_the_benchmarks_call_every_kernel_with_what_it_takes():
    """A kernel that gets one argument less reads or writes anywhere: that ends a process."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", textwrap.dedent(KERNELS)]
    done = subprocess.run(command, cwd=root, env=ENV, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
