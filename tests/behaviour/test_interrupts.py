"""Ctrl-C waits for the end of an uninterrupted call, and Python's handler is back whatever happens."""

import signal
import sys
import threading

import pytest

from fastbp.engine.interrupts import uninterrupted


class Timeout(Exception):
    """Of a signal handler of the user's."""


def test_ctrl_c_is_raised_after_the_call_and_announced_at_once():
    events = []

    def work():
        signal.raise_signal(signal.SIGINT)
        events.append("done")

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work, lambda: events.append("noted"))
    assert events == ["noted", "done"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_result_comes_back_and_an_error_comes_through():
    assert uninterrupted(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        uninterrupted(lambda: 1 / 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_users_and_other_threads_are_left_alone():
    handlers = []

    def look():
        handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        uninterrupted(look)
    finally:
        signal.signal(signal.SIGINT, before)
    thread = threading.Thread(target=uninterrupted, args=(look,))
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_IGN, signal.default_int_handler]


def test_the_handler_comes_back_whatever_is_raised_between_any_two_instructions():
    """As an exception of another signal's handler may come there."""
    code, count, raised = uninterrupted.__code__, 0, 0

    def trace_at(k):
        reached = 0

        def trace(frame, event, argument):
            nonlocal reached
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                reached += 1
                if reached == k:
                    raise Timeout
            return trace

        return trace

    before = sys.gettrace()
    while raised == count:
        count += 1
        try:
            sys.settrace(trace_at(count))
            uninterrupted(lambda: None)
        except Timeout:
            raised += 1
        finally:
            sys.settrace(before)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, f"after instruction {count}"
    assert raised > 40
