"""Explicit SIMD lanes: Numba's types for a vector and for a mask over it, and the instructions that make them.

What is computed on vectors is written as formulas, see ir/traced.py. No fast-math: every operation is rounded as it
stands.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import models, register_model

INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
BIT = ir.IntType(1)


class Vector(types.Type):
    """`lanes` numbers of one element type, as a Numba type."""

    def __init__(self, element, lanes):
        self.element, self.lanes = element, lanes
        self.llvm = ir.VectorType(ir.FloatType() if element == types.float32 else ir.DoubleType(), lanes)
        super().__init__(name=f"Vector({element}, {lanes})")


class Mask(types.Type):
    """One bit a lane; `full` says at compile time that every lane is on."""

    def __init__(self, lanes, full=False):
        self.lanes, self.full = lanes, full
        self.llvm = ir.VectorType(BIT, lanes)
        super().__init__(name=f"Mask({lanes}, {full})")


@register_model(Vector)
@register_model(Mask)
class LaneModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, fe_type.llvm)


# --- instructions -------------------------------------------------------------------------------------------------


def constant(vector, value):
    """Every lane of an LLVM vector = value."""
    return ir.Constant(vector, [value] * vector.count)


def spread(builder, scalar, lanes):
    """Every lane = scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, INT32(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), constant(ir.VectorType(INT32, lanes), 0))


def first_lanes(builder, count, lanes):
    """The mask with the first `count` of `lanes` on."""
    step = ir.Constant(ir.VectorType(INT32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", step, spread(builder, builder.trunc(count, INT32), lanes))


def float_function(builder, name, vector, arity):
    """An LLVM intrinsic on float vectors."""
    kind = "f32" if vector.element == ir.FloatType() else "f64"
    function = ir.FunctionType(vector, [vector] * arity)
    return cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.v{vector.count}{kind}")


def masked_function(builder, name, vector, result, arguments):
    kind = "f32" if vector.element == ir.FloatType() else "f64"
    function = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.{name}.v{vector.count}{kind}.p0")


def load_lanes(builder, pointer, vector, mask_type, mask):
    """Instructions of `memory.load`; vector is the Numba type."""
    align = vector.element.bitwidth // 8
    source = builder.bitcast(pointer, vector.llvm.as_pointer())
    if mask_type.full:
        value = builder.load(source)
        value.align = align
        return value
    arguments = [source.type, INT32, mask_type.llvm, vector.llvm]
    fn = masked_function(builder, "load", vector.llvm, vector.llvm, arguments)
    return builder.call(fn, [source, INT32(align), mask, ir.Constant(vector.llvm, None)])


def store_lanes(builder, pointer, vector, value, mask_type, mask):
    """Instructions of `memory.store`."""
    align = vector.element.bitwidth // 8
    target = builder.bitcast(pointer, vector.llvm.as_pointer())
    if mask_type.full:
        builder.store(value, target).align = align
        return
    arguments = [vector.llvm, target.type, INT32, mask_type.llvm]
    fn = masked_function(builder, "store", vector.llvm, ir.VoidType(), arguments)
    builder.call(fn, [value, target, INT32(align), mask])
