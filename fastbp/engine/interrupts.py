"""Postpones Ctrl-C where an exception would do harm: KeyboardInterrupt follows after the call."""

import signal
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def uninterrupted(function: Callable[[], Result], at_once: Callable[[], object] = lambda: None) -> Result:
    """function(), whose result is returned; Ctrl-C meanwhile calls at_once, and KeyboardInterrupt follows after it.

    Only in the main thread, and only while Python's own handler is in place; leaves a handler of the user alone.
    Handlers of other signals may raise at any moment, also within `signal.signal`, before it has done anything.
    Python's handler is restored all the same, unless three such signals come within the microseconds of three calls.
    """
    default = signal.default_int_handler
    in_main = threading.get_ident() == threading.main_thread().ident
    if not in_main or signal.getsignal(signal.SIGINT) is not default:
        return function()
    interrupted = False

    def note(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        at_once()

    try:
        try:
            try:
                signal.signal(signal.SIGINT, note)
                result = function()
            finally:
                signal.signal(signal.SIGINT, default)
        finally:
            signal.signal(signal.SIGINT, default)
    finally:
        signal.signal(signal.SIGINT, default)
    if interrupted:
        raise KeyboardInterrupt
    return result
