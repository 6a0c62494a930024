"""C functions of float64 numbers, for other libraries: a network's outputs or derivatives at one example.

All that they need is in a `CFunction`, whose address is their user_data. Each call takes one of the rooms in its pool,
so that calls from several threads do not meet; if all are taken it waits for one.
"""

import functools
import math
from typing import Annotated

from numba import types

from fastbp.core.ir.atomics import atomic_store, compare_exchange, pause
from fastbp.core.ir.kernel import DOUBLE, DOUBLES, INT, call, call_int, inline, kernel
from fastbp.core.ir.memory import address_of, doubles_at, floats_at, integers_at, on_stack, shift
from fastbp.core.ir.views import Number, Slot, Table, View, viewing
from fastbp.core.slots import Derivatives, Net

ROOMS = 16


class CFunction(Table):
    """What a C function computes, and the memory for it."""

    entry: Number  # address of predict, or of a derivative's entry point
    net: Number  # address of the Net, or of the `Derivatives`, that the entry point takes
    theta: Number
    inputs: Number  # of the network
    given: Number  # numbers read: the inputs, and for a vjp the cotangent
    results: Number  # numbers computed
    output: Number  # the one of them that a function with one result returns
    pool: Number  # address of the first room: the numbers given, those computed, the workspace
    results_at: Number  # offsets in a room, in elements
    workspace_at: Number
    room_bytes: Number
    taken: Annotated[int, Slot(in_place=True, count=ROOMS, new_line=True)]  # 1: a call is in this room


C_FUNCTION = View(CFunction)
derivatives_at, net_at = viewing(Derivatives), viewing(Net)


@inline
def take_room(data):
    i = 0
    while compare_exchange(data.taken, i, 0, 1) == 0:
        i += 1
        if i == ROOMS:
            i = 0
            pause()
    return i


@functools.cache
def computing(size, what):
    """(data, x, y, begin, count), for `inline`: overwrites y (count) by the results from `begin` on, for x.

    Returns 0, or 1 where a number given or a result is NaN or infinite: y then is NaN there, or throughout.
    """
    predicts, is_vjp = what == "predict", what == "vjp"

    @inline
    def compute(data, x, y, begin, count):
        room = take_room(data)
        given = floats_at(data.pool + room * data.room_bytes, size)
        results, workspace = shift(given, data.results_at), shift(given, data.workspace_at)
        theta, bad = floats_at(data.theta, size), 0
        for i in range(data.given):
            given[i] = x[i]
            bad |= 0 if abs(given[i]) < math.inf else 1
        if bad == 0:
            table = integers_at(data.net)
            if predicts:
                call_int(data.entry, net_at(table, 0), theta, results, given, 1, workspace)
            elif is_vjp:
                cotangent = address_of(shift(given, data.inputs))
                call(data.entry, derivatives_at(table, 0), theta, address_of(given), cotangent, address_of(results), 0,
                     1, workspace)  # fmt: skip
            else:
                call(data.entry, derivatives_at(table, 0), theta, address_of(given), address_of(results), 1, workspace)
        failed = bad
        for j in range(count):
            y[j] = results[begin + j] if bad == 0 else math.nan
            if not abs(y[j]) < math.inf:
                y[j], failed = math.nan, 1
        atomic_store(data.taken, room, 0)
        return failed

    return compute


@functools.cache
def function(size, what):
    """Overwrites y by all results for x. Returns 0, or 1 where one of the numbers is NaN or infinite."""
    compute = computing(size, what)

    @kernel(types.int32(DOUBLES, DOUBLES, C_FUNCTION), what, size)
    def function(x, y, data):
        return compute(data, x, y, 0, data.results)

    return function


@functools.cache
def of_number(size):
    """The output of a network with one input."""
    compute = computing(size, "predict")

    @kernel(DOUBLE(DOUBLE, C_FUNCTION), size)
    def of_number(x, data):
        numbers = on_stack(doubles_at(0), 2)
        numbers[0] = x
        compute(data, numbers, shift(numbers, 1), data.output, 1)
        return numbers[1]

    return of_number


@functools.cache
def of_numbers(size):
    """The output for n inputs x; NaN if the network has another number of inputs."""
    compute = computing(size, "predict")

    @kernel(DOUBLE(types.int32, DOUBLES, C_FUNCTION), size)
    def of_numbers(n, x, data):
        if n != data.inputs:
            return math.nan
        y = on_stack(doubles_at(0), 1)
        compute(data, x, y, data.output, 1)
        return y[0]

    return of_numbers


@functools.cache
def of_neighbourhood(size):
    """Overwrites result[0] by the output for the n numbers of a neighbourhood. Returns 1, or 0 where it fails."""
    compute = computing(size, "predict")

    @kernel(types.int32(DOUBLES, INT, DOUBLES, C_FUNCTION), size)
    def of_neighbourhood(x, n, result, data):
        if n != data.inputs:
            result[0] = math.nan
            return 0
        return 1 - compute(data, x, result, data.output, 1)

    return of_neighbourhood
