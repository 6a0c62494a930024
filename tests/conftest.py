"""How many random examples hypothesis tries: 50, or 2,000 with `pytest --hypothesis-profile=nightly`; threads."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from fastbp.engine import thread_limit

settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile("ci")

# the benchmarks lie beside the tests and are not installed; their folder in sys.path would hide the installed fastbp
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
spec = importlib.util.spec_from_file_location(
    "benchmarks", BENCHMARKS / "__init__.py", submodule_search_locations=[str(BENCHMARKS)]
)
assert spec is not None
sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)


@pytest.fixture(autouse=True)
def more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """n_threads is not cut to this machine's cores: results are to be the same bits for any number."""
    monkeypatch.setattr(thread_limit, "clamped", lambda n: n)
