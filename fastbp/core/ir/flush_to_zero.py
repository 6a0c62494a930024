"""Subnormal numbers taken for 0 while a network trains.

The moments of a weight whose gradient is always 0 (of a pixel that is never set) decay into them within some thousand
updates, and arithmetic on them takes a hundred times as long on x86. Elsewhere it does not, and nothing is changed.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastbp.core.ir.types import INT32, INT64

FLUSH_RESULTS_AND_OPERANDS = 0x8040  # the bits FTZ and DAZ of MXCSR


def mode_register(builder, name, slot):
    """Store the register MXCSR to the slot, or load it from there."""
    function = ir.FunctionType(ir.VoidType(), [slot.type])
    builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.sse.{name}"), [slot])


def is_x86(builder):
    return builder.module.triple.startswith(("x86_64", "i686"))


@intrinsic
def flush_subnormals(typingctx):
    """From here on subnormals count as 0 in this thread; returns the mode before, for `restore_mode`."""

    def codegen(context, builder, sig, args):
        if not is_x86(builder):
            return INT64(0)
        slot = cgutils.alloca_once(builder, INT32)
        mode_register(builder, "stmxcsr", slot)
        before = builder.load(slot)
        builder.store(builder.or_(before, INT32(FLUSH_RESULTS_AND_OPERANDS)), slot)
        mode_register(builder, "ldmxcsr", slot)
        return builder.zext(before, INT64)

    return types.int64(), codegen


@intrinsic
def restore_mode(typingctx, before):
    """The floating-point mode as `flush_subnormals` found it."""

    def codegen(context, builder, sig, args):
        if is_x86(builder):
            slot = cgutils.alloca_once(builder, INT32)
            builder.store(builder.trunc(args[0], INT32), slot)
            mode_register(builder, "ldmxcsr", slot)
        return context.get_dummy_value()

    return types.void(types.int64), codegen
