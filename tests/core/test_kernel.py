"""A kernel is compiled once, when its address is first asked for, and called by that address."""

import threading

import numpy as np
import pytest
from kernel_calls import run

from fastbp.core.ir.kernel import DOUBLE, INT, INTEGERS, VOID, call, call_double, call_int, kernel, lanes_of, registers


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch):
    """(make, made): the decorator `kernel` without the cache on disk, and the names of what has been compiled."""
    made: list[str] = []

    def make(signature):
        def decorate(function):
            result = kernel(signature)(function)
            result.key, code = None, result.uncached

            def counted():
                made.append(function.__name__)
                return code()

            result.uncached = counted
            return result

        return decorate

    return make, made


def test_a_kernel_is_compiled_once_when_its_address_is_first_asked_for(compiled) -> None:
    make, made = compiled

    @make(INT(INT, INT))
    def add(a, b):
        return a + b

    assert made == []
    addresses: list[int] = []
    threads = [threading.Thread(target=lambda: addresses.append(add.address)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["add"]
    assert len(addresses) == 4
    assert len(set(addresses)) == 1
    assert run(add, 2, 3) == 5


def test_kernels_call_each_other_by_address(compiled) -> None:
    make, _ = compiled

    @make(VOID(INTEGERS, INT))
    def store_number(out, value):
        out[0] = value

    @make(INT(INT, INT))
    def add(a, b):
        return a + b

    @make(DOUBLE(DOUBLE))
    def half(x):
        return x / 2

    @make(DOUBLE(INT, INT, INT, INTEGERS))
    def caller(store_address, add_address, half_address, out):
        call(store_address, out, call_int(add_address, 40, 2))
        return call_double(half_address, 5.0)

    out = np.zeros(1, np.int64)
    assert run(caller, store_number.address, add.address, half.address, out) == 2.5
    assert out[0] == 42


def test_the_code_of_a_kernel_is_shown_as_llvm_and_as_machine_code(compiled) -> None:
    make, _ = compiled

    @make(INT(INT))
    def next_number(i):
        return i + 1

    llvm, machine_code = next_number.inspect()
    assert "define" in llvm
    assert "next_number" in machine_code
    assert run(next_number, 6) == 7


def test_a_register_holds_whole_lanes_of_both_sizes() -> None:
    size, count = registers()
    assert size in (16, 32, 64)
    assert count in (16, 32)
    assert lanes_of(4) == 2 * lanes_of(8) == size // 4
