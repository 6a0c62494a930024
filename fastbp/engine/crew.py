"""Helpers at work for a call, and waiting for them without a lock.

An exception from a signal handler may come between any two instructions of the waiting thread. Where it comes within
the locks of futures and conditions these stay locked, and the helpers wait for ever.
"""

import contextlib
import queue
import time
from collections.abc import Callable

POLL_SECONDS = 0.05
"""How often the waiting thread looks up: a signal that another thread has received does not wake it."""


class Crew:
    """Counts helpers that begin and end. Appending to a list and taking its length are one step each."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._begun: list[None] = []
        self._ended: list[None] = []
        self._closed = False
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work(self, function: Callable[..., object], *arguments: object) -> None:
        """In a helper: call the function, unless the crew is closed already; an error is kept for the caller."""
        self._begun.append(None)
        try:
            if not self._closed:
                function(*arguments)
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._ended.append(None)
            self._news.put(None)

    def wait_for(self, count: int) -> None:
        """Wait until this many have ended."""
        while len(self._ended) < count:
            self._look(POLL_SECONDS)

    def close(self) -> None:
        """None begins any more; wait for those that have begun, even if exceptions come: the last is raised then."""
        self._closed = True
        interruption: BaseException | None = None
        while self.at_work:
            try:
                self._look(POLL_SECONDS)
            except BaseException as error:
                interruption = error
        if interruption is not None:
            raise interruption

    def rest(self, seconds: float) -> None:
        """Wait until none is at work, or for this time."""
        end = time.monotonic() + seconds
        while self.at_work and (left := end - time.monotonic()) > 0:
            self._look(left)

    @property
    def at_work(self) -> bool:
        return len(self._ended) < len(self._begun)

    def _look(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._news.get(timeout=seconds)
