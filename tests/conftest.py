"""How many random examples hypothesis tries: 50, or 2,000 with `pytest --hypothesis-profile=nightly`."""

from hypothesis import settings

settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile("ci")
