"""Every example runs, and solves what it is about: each ends with assertions."""

import ast
import runpy
from pathlib import Path

import matplotlib
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

matplotlib.use("Agg")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_asserts_that_it_is_solved(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (main,) = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if getattr(node, "name", "") == "main")
    assert isinstance(main.body[-1], ast.Assert)
    runpy.run_path(str(path), run_name="__main__")


def test_there_are_examples():
    assert EXAMPLES
