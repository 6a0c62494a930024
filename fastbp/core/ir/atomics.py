"""Atomic operations on int64, and the pause of a waiting loop."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def atomic(codegen_of, *, result):
    """An intrinsic on the int64 at pointer[index]."""

    @intrinsic
    def operation(typingctx, pointer, index, *operands):
        def codegen(context, builder, sig, args):
            values = [builder.extract_value(args[2], i) for i in range(len(operands))]
            return codegen_of(context, builder, builder.gep(args[0], [args[1]]), *values)

        arguments = types.StarArgTuple((types.int64,) * len(operands))
        return result(pointer, types.int64, arguments), codegen

    return operation


def emit_store(context, builder, at, value):
    builder.store_atomic(value, at, "release", 8)
    return context.get_dummy_value()


def emit_exchange(context, builder, at, expected, new):
    outcome = builder.cmpxchg(at, expected, new, "acq_rel", "acquire")
    return builder.zext(builder.extract_value(outcome, 1), ir.IntType(64))


atomic_load = atomic(lambda context, builder, at: builder.load_atomic(at, "acquire", 8), result=types.int64)
atomic_store = atomic(emit_store, result=types.void)
atomic_add = atomic(
    lambda context, builder, at, value: builder.atomic_rmw("add", at, value, "acq_rel"), result=types.int64
)
"""Adds; returns the value before."""
compare_exchange = atomic(emit_exchange, result=types.int64)
"""(pointer, index, expected, new) -> 1 and stores new if the value is the expected one, else 0."""


@intrinsic
def pause(typingctx):
    """Tell the core that this is a waiting loop (x86; nothing elsewhere)."""

    def codegen(context, builder, sig, args):
        if builder.module.triple.startswith(("x86_64", "i686")):
            fn = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, fn, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen
