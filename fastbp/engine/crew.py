"""Waiting for the helper threads of one call, without a lock.

A signal handler may raise between any two instructions of the waiting thread. Inside the locks of futures and
conditions, such an exception leaves them locked, and the helpers wait forever.
"""

import contextlib
import queue
from collections.abc import Callable

from fastbp.core.ir.aside import POLL_SECONDS


class Crew:
    """Counts helpers that begin and end. Appending to a list and reading its length are atomic."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._begun: list[None] = []
        self._ended: list[None] = []
        self._closed = False
        self._events: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work(self, function: Callable[..., object], *arguments: object) -> None:
        """In a helper: call the function, unless the crew is closed; an error is stored for the caller."""
        self._begun.append(None)
        try:
            if not self._closed:
                function(*arguments)
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._ended.append(None)
            self._events.put(None)

    def wait_for(self, count: int) -> None:
        """Wait until `count` helpers have ended."""
        while len(self._ended) < count:
            self._wait(POLL_SECONDS)

    def close(self) -> None:
        """Let no more helpers begin, and wait for those that have. Raises the last exception that came meanwhile."""
        self._closed = True
        interruption: BaseException | None = None
        while self.at_work:
            try:
                self._wait(POLL_SECONDS)
            except BaseException as error:
                interruption = error
        if interruption is not None:
            raise interruption

    @property
    def at_work(self) -> bool:
        return len(self._ended) < len(self._begun)

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._events.get(timeout=seconds)
