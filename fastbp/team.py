"""`end_helpers`, for programs that must have no helper threads for a moment, as before a fork in C."""

from fastbp.engine.helpers import end_helpers

__all__ = ["end_helpers"]
