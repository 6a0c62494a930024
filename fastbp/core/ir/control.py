"""Loops and branches of formulas (ir/traced.py). What they change is handed on: symbolic values in tuples or lists.

z = repeat(R, lambda r, z: z + x[r], z)        # for r in range(R): z = z + x[r]
"""

from llvmlite import ir
from numba.core import cgutils

from fastbp.core.ir.lanes import Lanes
from fastbp.core.ir.types import INT64


def leaves(state):
    """The symbolic values in nested tuples and lists, or None."""
    if state is None:
        return []
    return [leaf for part in state for leaf in leaves(part)] if isinstance(state, (tuple, list)) else [state]


class Variables:
    """Room on the stack for a state; LLVM makes registers of it."""

    def __init__(self, builder, state):
        self.builder, self.state = builder, state
        self.slots = [cgutils.alloca_once_value(builder, leaf.value) for leaf in leaves(state)]

    def store(self, state):
        for slot, leaf in zip(self.slots, leaves(state), strict=True):
            self.builder.store(leaf.value, slot)

    def load(self):
        slots = iter(self.slots)

        def loaded(state):
            if isinstance(state, (tuple, list)):
                return [loaded(part) for part in state]
            return state.new(self.builder.load(next(slots)))

        return loaded(self.state)


def repeat(end, body, state=(), *, step=1):
    """for i in range(0, end, step): state = body(i, state). Returns the last state; end is an Integer."""
    builder = end.builder
    variables = Variables(builder, state)
    with cgutils.for_range_slice(builder, INT64(0), end.value, INT64(step), inc=True) as (i, _):
        variables.store(body(end.new(i), variables.load()))
    return variables.load()


def repeat_while(holds, body, *state):
    """while holds(*state): state = body(*state). Returns the last state."""
    builder = state[0].builder
    variables = Variables(builder, state)
    check, inside, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(check)
    builder.position_at_end(check)
    builder.cbranch(holds(*variables.load()).bit, inside, after)
    builder.position_at_end(inside)
    variables.store(body(*variables.load()))
    builder.branch(check)
    builder.position_at_end(after)
    return variables.load()


def when(condition, values, otherwise):
    """values() if the condition (an Integer, 0 or 1) holds, else `otherwise`: a branch."""
    builder = condition.builder
    variables = Variables(builder, otherwise)
    with builder.if_then(condition.bit):
        variables.store(values())
    return variables.load()


def call_address(address, *arguments):
    """Calls the C function at the address (an Integer); a tuple among the arguments stands for its elements."""
    values = [leaf.value for leaf in leaves(arguments)]
    function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    address.builder.call(address.builder.inttoptr(address.value, function.as_pointer()), values)


class VectorArray:
    """An array of vectors like x on the stack, read and written by index; it begins undefined."""

    def __init__(self, x, count):
        self.builder = x.builder
        self.array = cgutils.alloca_once(x.builder, x.value.type, size=count)

    def at(self, index):
        return self.builder.gep(self.array, [index.value])

    def __getitem__(self, index):
        return Lanes(self.builder, self.builder.load(self.at(index)))

    def __setitem__(self, index, x):
        self.builder.store(x.value, self.at(index))
