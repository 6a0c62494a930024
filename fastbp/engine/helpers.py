"""Helpers: a pool of threads that wait for tasks.

Python runs signal handlers in the main thread, and they may raise: after any call, at the start of any function and in
each iteration of a loop. So each atomic step here is at most one C call, and each cleanup is the first call of a
`finally`. Locks of `threading`, and queues built on its conditions, stay locked after such an exception: not used.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from fastbp.core.ir.aside import NoThread, start

Task = Callable[[], object]

PATIENCE = 0.01
"""Seconds that a fork waits for helpers at work: a run of another thread may take longer."""

idle: list["Helper"] = []
"""Helpers that wait, at most one per core. Waking one takes 20 to 70 us, starting one 300."""

busy: set["Helper"] = set()
"""Helpers at work."""

exiting: list[None] = []
"""Not empty once the interpreter exits: no more helpers start."""


class Helper:
    """One thread of the pool, constructed in it."""

    def __init__(self) -> None:
        self.tasks = SimpleQueue[Task | None]()
        self.thread = threading.get_native_id()

    def serve(self, task: Task | None) -> None:
        """Run tasks until the next one is None."""
        while task is not None:
            busy.add(self)
            task()
            task, stays = None, len(idle) < (os.cpu_count() or 1)  # drops the reference to the caller's objects
            if stays:
                idle.append(self)
            busy.discard(self)
            task = self.tasks.get() if stays else None

    @property
    def is_alive(self) -> bool:
        """Whether its thread has not ended, according to /proc on Linux."""
        return os.path.exists(f"/proc/self/task/{self.thread}")


def call(task: Task) -> None:
    """Run the task, a function without arguments that raises nothing, in a helper. NoThread if none can start."""
    if idle:
        tasks = idle[-1].tasks
        del idle[-1]  # no call in between: the helper gets the task or stays idle
        tasks.put(task)
        return
    if exiting:
        raise NoThread("the interpreter exits")
    start(begin, task)


def begin(task: Task) -> None:
    Helper().serve(task)


def end_helpers() -> None:
    """End all helpers but those that take too long: a fork would leave the child without their threads."""
    end = time.monotonic() + PATIENCE
    while busy and time.monotonic() < end:
        time.sleep(1e-5)
    ending = []
    while idle:
        helper = idle[-1]
        del idle[-1]
        helper.tasks.put(None)
        ending.append(helper)
    end = time.monotonic() + 1
    while any(helper.is_alive for helper in ending) and time.monotonic() < end:
        time.sleep(1e-5)


def end_all() -> None:
    """At exit of the interpreter: no helper may still run machine code."""
    exiting.append(None)
    while busy:
        time.sleep(1e-4)
    end_helpers()


def forget() -> None:
    """In the child of a fork, which has one thread: empty the pool."""
    idle.clear()
    busy.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=end_helpers, after_in_child=forget)
atexit.register(end_all)
