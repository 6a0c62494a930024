"""What one worker wrote before a barrier, the others read after it.

A kernel with a barrier must promise nothing about its pointers: `noalias` says that no other thread changes their
memory, and LLVM then keeps a value that it read before the barrier.
"""

import importlib
import inspect
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.core import slots, step
from fastbp.core.derivatives import training
from fastbp.core.ir import kernel as core_compile
from fastbp.core.ir.kernel import INT, INTEGERS, VOID, call_int, inline, kernel
from fastbp.core.step.barrier import barrier
from fastbp.engine.cpu import usleep_address

STEP = Path(step.__file__).parent
ROUNDS = 20_000
ATOMIC = re.compile(r"\b(load atomic|store atomic|atomicrmw|cmpxchg|fence)\b")
OWN = {"retptr", "excinfo"}  # numba's arguments for its return value and exceptions, on the caller's stack


def llvm_of(compiled_kernel):
    """The LLVM IR of a kernel after optimisation, compiled again: what comes from the cache has none."""
    return compiled_kernel.inspect()[0]


def promises(llvm):
    """The pointers that a kernel's LLVM IR promises not to alias: arguments, or those of functions inlined into it."""
    arguments = [
        argument.split()[-1].lstrip("%")
        for define in re.findall(r"^define .*?\((.*)\).*\{$", llvm, re.MULTILINE)
        for argument in re.split(r", (?=ptr|i\d|float|double)", define)
        if re.search(r"\bnoalias\b", argument)
    ]
    inlined = re.findall(r'distinct !\{!\d+, !\d+, !"[^"]*: %([^"]*)"\}', llvm)
    return sorted({*arguments, *inlined} - OWN)


def kernels_of_step(size):
    """Every kernel of a step for numbers of this size: there alone, workers share memory by atomics."""
    for name in sorted(path.stem for path in STEP.glob("*.py")):
        module = importlib.import_module(f"{step.__name__}.{name}")
        for make in vars(module).values():
            if hasattr(make, "cache_info") and make.__module__ == module.__name__:
                numbers = {"size": size, "name": "adam"}
                yield make(*(numbers[parameter] for parameter in inspect.signature(make).parameters))
    yield training.examples(size)


# The kernels of the library.


def test_only_the_kernels_of_a_step_and_pools_of_workspaces_use_atomics():
    core = STEP.parent
    users = {path.relative_to(core) for path in core.rglob("*.py") if "ir.atomics import" in path.read_text()}
    others = {path.as_posix() for path in users if path.parent != Path("step")}
    assert others == {"derivatives/training.py", "derivatives/c_functions.py"}


@pytest.mark.long
@pytest.mark.parametrize("size", [4, 8])
def test_no_kernel_that_uses_atomics_promises_anything_about_its_pointers(size):
    llvm = {kernel.key: llvm_of(kernel) for kernel in kernels_of_step(size)}
    sharing = {key for key in llvm if ATOMIC.search(llvm[key])}
    waiting = {key[1].rpartition(".")[2] for key in sharing if re.search(r"\batomicrmw add\b", llvm[key])}
    assert "train" in waiting, "a worker waits at a barrier in the loop over steps"
    assert len(sharing) > len(waiting)
    assert {key: promises(llvm[key]) for key in sharing if promises(llvm[key])} == {}


# A kernel that waits for others in a loop, at the real barrier.


@pytest.fixture
def uncached(monkeypatch):
    """Kernels of this file stay out of the library's cache, whose key does not name their source."""
    monkeypatch.setattr(core_compile, "CachedFile", lambda key, signature: None)


@intrinsic
def nothing(typingctx):
    return types.void(), lambda context, builder, sig, args: context.get_dummy_value()


@intrinsic
def promise(typingctx):
    """noalias on every pointer argument of the function that calls this: the mistake."""

    def codegen(context, builder, sig, args):
        for argument in builder.function.args[2:]:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), codegen


@kernel(INT(slots.JOB, INT))
def barrier_by_address(job, number):
    return barrier(job, number, 0)


@inline
def inlined(address, job, number):
    return barrier(job, number, 0)


@inline
def by_address(address, job, number):
    return call_int(address, job, number)


SIGNATURE = VOID(INT, INT, slots.JOB, INTEGERS, INTEGERS, INT)


def reader(wait, promise):
    """Counts the rounds in which it does not see what is written between the two barriers of the round."""

    @kernel(SIGNATURE)
    def read(address, rank, job, value, wrong, rounds):
        promise()
        for r in range(1, rounds + 1):
            before = value[0]
            if not wait(address, job, 2 * r - 1):
                return
            if not wait(address, job, 2 * r):
                return
            if before != r - 1 or value[0] != r:
                wrong[rank] += 1

    return read


def writer(wait):
    @kernel(SIGNATURE)
    def write(address, rank, job, value, wrong, rounds):
        for r in range(1, rounds + 1):
            if not wait(address, job, 2 * r - 1):
                return
            value[0] = r
            if not wait(address, job, 2 * r):
                return

    return write


def both(wait, promise):
    """The same as one kernel: the first worker writes, all read."""

    @kernel(SIGNATURE)
    def exchange(address, rank, job, value, wrong, rounds):
        promise()
        for r in range(1, rounds + 1):
            before = value[0]
            if not wait(address, job, 2 * r - 1):
                return
            if rank == 0:
                value[0] = r
            if not wait(address, job, 2 * r):
                return
            if before != r - 1 or value[0] != r:
                wrong[rank] += 1

    return exchange


def stale_reads(workers, rounds):
    """Run a kernel for each worker; the number of rounds in which each read an old value."""
    job = np.zeros(slots.JOB_SLOTS, np.int64)
    job[slots.Job.workers], job[slots.Job.sleep] = len(workers), usleep_address()
    value, wrong = np.zeros(1, np.int64), np.zeros(8 * len(workers), np.int64)
    tables = (job.ctypes.data, value.ctypes.data, wrong.ctypes.data)
    threads = [
        threading.Thread(target=worker.ctypes, args=(barrier_by_address.address, rank, *tables, rounds))
        for rank, worker in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert job[slots.Job.arrived] == 2 * rounds * len(workers), "all came to every barrier"
    assert value[0] == rounds
    return wrong[: len(workers)].tolist()


BARRIERS = pytest.mark.parametrize("wait", [inlined, by_address], ids=["inlined", "by address"])


@BARRIERS
def test_two_workers_see_what_the_first_wrote_before_each_barrier(wait, uncached):
    assert stale_reads([both(wait, nothing)] * 2, ROUNDS) == [0, 0]
    assert stale_reads([writer(wait), reader(wait, nothing)], ROUNDS) == [0, 0]


@BARRIERS
def test_three_workers_see_what_the_first_wrote_before_each_barrier(wait, uncached):
    write, read = writer(wait), reader(wait, nothing)
    assert stale_reads([write, read, read], ROUNDS // 10) == [0, 0, 0]


# These tests can fail.


@BARRIERS
def test_workers_that_promise_noalias_see_old_values_or_at_least_the_promise_is_found(wait, uncached):
    """LLVM takes the value that it read before the barrier for the one after it."""
    for workers in ([both(wait, promise)] * 2, [writer(wait), reader(wait, promise)]):
        stale = stale_reads(workers, 100)
        assert stale == [0, 100] or (stale == [0, 0] and promises(llvm_of(workers[1])))


@BARRIERS
@pytest.mark.parametrize("make", [reader, both])
def test_a_promise_is_found_in_the_code_of_a_kernel_with_a_barrier(make, wait, uncached):
    assert promises(llvm_of(make(wait, nothing))) == []
    assert {"arg.job", "arg.value"} <= set(promises(llvm_of(make(wait, promise))))


def test_a_promise_is_found_in_a_helper_that_became_part_of_a_kernel(uncached):
    @inline
    def fresh(value):
        promise()
        return value[0]

    @kernel(SIGNATURE)
    def read(address, rank, job, value, wrong, rounds):
        for r in range(1, rounds + 1):
            if not barrier(job, r, 0):
                return
            wrong[rank] += fresh(value) != r

    assert promises(llvm_of(read)) != []
