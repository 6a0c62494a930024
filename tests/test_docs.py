"""Every Python block of README and docs runs, those of one page one after the other in one namespace."""

import re
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)

matplotlib.use("Agg")


def blocks(page):
    """(line, code) of the page's Python blocks."""
    text = page.read_text(encoding="utf-8")
    return [(text[: match.start(1)].count("\n"), match[1]) for match in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_every_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for line, code in blocks(page):
        path = tmp_path / f"{page.stem}_{line}.py"  # a file, where Numba can cache
        path.write_text("\n" * line + code, encoding="utf-8")
        exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_is_named_exists(page):
    for name in re.findall(r"`((?:fastbp|tests|benchmarks|docs|examples)/[\w./]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_function_that_the_mathematics_names_exists():
    import importlib

    text = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_.]+)\.(\w+)`", "\n".join(line for line in text.splitlines() if line.startswith("| ")))
    assert named
    for module, function in named:
        if module != "Model":
            assert hasattr(importlib.import_module(f"fastbp.core.{module}"), function), f"{module}.{function}"
