"""Threads below those of the library: starting one, and work aside, where no signal handler of Python's raises."""

import _thread
import atexit
import sys
import threading
import time

from numba.core.compiler_lock import global_compiler_lock

POLL_SECONDS = 0.05
"""How often the waiting caller looks up: a signal that another thread has received does not wake it."""

SMALLEST_STACK = 1 << 22
"""Bytes that LLVM needs to be safe."""

working = set()
"""A lock for each thread at work: the interpreter must not exit in the midst of the compiler."""


class NoThread(RuntimeError):
    """No thread can start: the process is at a limit, or the interpreter exits."""


def start(function, *arguments):
    """function(*arguments) in a new thread. NoThread if none can start."""
    try:
        _thread.start_new_thread(function, arguments)
    except RuntimeError as error:
        trace = error.__traceback__
        if trace is not None and trace.tb_next is None:
            raise NoThread(str(error)) from None
        raise  # a signal handler's, whose traceback goes on


def aside(make):
    """make(), in another thread: a compiler in whose midst a handler raises stays broken.

    Raises what make raises. If a handler raises in the caller meanwhile, make runs on to its end without the caller.
    The caller itself runs it in other threads than the main one, whose handlers these are; where it holds the lock of
    the compiler or of a module that it imports, as make may wait for these; and where no thread can start.
    """
    in_main = _thread.get_ident() == threading.main_thread().ident
    if not in_main or global_compiler_lock.is_locked() or is_importing() or 0 < threading.stack_size() < SMALLEST_STACK:
        make()
        return
    done, errors = _thread.allocate_lock(), []

    def run():
        working.add(done)
        try:
            make()
        except BaseException as error:
            errors.append(error)
        working.discard(done)
        done.release()

    done.acquire()
    try:
        start(run)
    except NoThread:
        make()
        return
    while not done.acquire(timeout=POLL_SECONDS):
        pass
    if errors:
        raise errors.pop()


def is_importing():
    """Whether an import is under way on the caller's stack, with the lock of its module."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


@atexit.register
def wait_for_all():
    while working:
        time.sleep(POLL_SECONDS)
