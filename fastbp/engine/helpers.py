"""Helpers: threads that wait until a call has something for them to do.

Python runs signal handlers in the main thread, and they may raise: behind any call, at the start of any function and at
each turn of a loop. So what must happen together here is at most one call, of C, and what must happen in the end is the
first call of a `finally`. The locks of `threading`, and queues built on its conditions, stay locked after such an
exception: they are not used.
"""

import _thread
import atexit
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

Task = Callable[[], object]

POLL_SECONDS = 0.05
"""How often a waiting caller looks up: a signal that another thread has received does not wake it."""

PATIENCE = 0.01
"""Seconds for which a fork waits for helpers at work: a run of another thread may take longer."""

idle: list["Helper"] = []
"""Helpers that wait, at most one a core. To wake one takes 20 to 70 us, to start one 300."""

busy: set["Helper"] = set()
"""Helpers at work."""

exiting: list[None] = []
"""Not empty once the interpreter exits: no helper starts any more."""


class NoThread(RuntimeError):
    """No thread can start: at a limit of the process, or because the interpreter exits."""


class Helper:
    """One thread, in which it is made."""

    def __init__(self) -> None:
        self.tasks = SimpleQueue[Task | None]()
        self.thread = threading.get_native_id()

    def serve(self, task: Task | None) -> None:
        """Run one task after the other, until there is None."""
        while task is not None:
            busy.add(self)
            task()
            task, stays = None, len(idle) < (os.cpu_count() or 1)  # None keeps nothing of the caller's alive
            if stays:
                idle.append(self)
            busy.discard(self)
            task = self.tasks.get() if stays else None

    @property
    def is_alive(self) -> bool:
        """Whether its thread has not ended; Linux tells."""
        return os.path.exists(f"/proc/self/task/{self.thread}")


def call(task: Task) -> None:
    """A helper runs the task: a function without arguments that raises nothing. NoThread if none can start."""
    if idle:
        tasks = idle[-1].tasks
        del idle[-1]  # no call comes between: the helper gets the task or stays idle
        tasks.put(task)
        return
    if exiting:
        raise NoThread("the interpreter exits")
    try:
        _thread.start_new_thread(begin, (task,))
    except RuntimeError as error:
        trace = error.__traceback__
        if trace is not None and trace.tb_next is None:
            raise NoThread(str(error)) from None
        raise  # a signal handler's, whose traceback goes on


def begin(task: Task) -> None:
    Helper().serve(task)


def end_helpers() -> None:
    """Wait until no helper is left, or one takes too long: a fork would leave the child without their threads."""
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
    """The interpreter exits: no helper may be in the midst of machine code."""
    exiting.append(None)
    while busy:
        time.sleep(1e-4)
    end_helpers()


def forget() -> None:
    """In the child of a fork, which has one thread."""
    idle.clear()
    busy.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=end_helpers, after_in_child=forget)
atexit.register(end_all)
