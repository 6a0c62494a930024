"""How many random examples hypothesis tries: 50, or 2,000 with `pytest --hypothesis-profile=nightly`; threads."""

import pytest
from hypothesis import settings

from fastbp.engine import thread_limit

settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """n_threads is not cut to this machine's cores: results are to be the same bits for any number."""
    monkeypatch.setattr(thread_limit, "clamped", lambda n: n)
