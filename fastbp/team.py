"""For programs that must be without helper threads for a moment, as before a fork of their own making."""

from fastbp.engine.helpers import end_helpers

__all__ = ["end_helpers"]
