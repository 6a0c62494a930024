"""Atomic operations of several threads on one number lose nothing."""

import threading

import numpy as np
from kernel_calls import run, uncached

from fastbp.core.ir.atomics import atomic_add, atomic_load, atomic_store, compare_exchange, pause
from fastbp.core.ir.kernel import INT, INTEGERS, VOID, Kernel, kernel

THREADS, ROUNDS = 4, 20_000


def in_threads(worker: Kernel, numbers: np.ndarray) -> None:
    threads = [threading.Thread(target=run, args=(worker, numbers, rank, ROUNDS)) for rank in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_sum_of_several_threads_is_lost() -> None:
    @kernel(VOID(INTEGERS, INT, INT))
    def add(numbers, rank, rounds):
        for _ in range(rounds):
            atomic_add(numbers, 1, rank + 1)

    numbers = np.zeros(3, np.int64)
    in_threads(uncached(add), numbers)
    assert numbers.tolist() == [0, ROUNDS * sum(range(1, THREADS + 1)), 0]


def test_one_thread_at_a_time_wins_an_exchange() -> None:
    @kernel(VOID(INTEGERS, INT, INT))
    def count_under_a_lock(numbers, rank, rounds):
        for _ in range(rounds):
            while compare_exchange(numbers, 0, 0, rank + 1) == 0:
                pause()
            numbers[1] += 1  # by the winner alone
            atomic_store(numbers, 0, 0)

    numbers = np.zeros(2, np.int64)
    in_threads(uncached(count_under_a_lock), numbers)
    assert numbers.tolist() == [0, THREADS * ROUNDS]


def test_operations_return_what_was_there() -> None:
    @kernel(VOID(INTEGERS, INTEGERS))
    def each(number, found):
        found[0] = atomic_load(number, 0)
        found[1] = atomic_add(number, 0, 5)
        found[2] = compare_exchange(number, 0, 12, 1)
        found[3] = compare_exchange(number, 0, 13, 1)
        found[4] = compare_exchange(number, 0, 12, 20)
        found[5] = atomic_load(number, 0)

    number, found = np.array([7]), np.zeros(6, np.int64)
    run(uncached(each), number, found)
    assert found.tolist() == [7, 7, 1, 0, 0, 1]
    assert number.tolist() == [1]
