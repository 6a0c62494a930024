"""Work aside: in another thread where that is safe, else in the caller's; errors reach the caller."""

import threading

import pytest
from numba.core.compiler_lock import global_compiler_lock

from fastbp.core.ir import aside


def thread_of_work() -> int:
    idents: list[int] = []
    aside.aside(lambda: idents.append(threading.get_ident()))
    return idents.pop()


def test_the_main_thread_works_in_another_one() -> None:
    assert thread_of_work() != threading.get_ident()
    assert not aside.working


def test_other_threads_work_themselves() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(thread_of_work() == threading.get_ident()))
    thread.start()
    thread.join()
    assert found == [True]


def test_the_owner_of_the_compilers_lock_works_itself() -> None:
    with global_compiler_lock:
        assert thread_of_work() == threading.get_ident()


def test_where_no_thread_starts_the_caller_works_itself(monkeypatch) -> None:
    def none_starts(function, *arguments):
        raise aside.NoThread("can't start new thread")

    monkeypatch.setattr(aside, "start", none_starts)
    assert thread_of_work() == threading.get_ident()


def test_errors_are_raised_in_the_caller() -> None:
    def fail():
        raise KeyError("the work's")

    with pytest.raises(KeyError, match="the work's"):
        aside.aside(fail)
    assert not aside.working
