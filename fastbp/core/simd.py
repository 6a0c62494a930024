"""Explicit SIMD lanes for Numba: a vector, and a mask over its lanes.

All functions below are single LLVM instructions or short fixed sequences of them.
"""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

INT32 = ir.IntType(32)
BIT = ir.IntType(1)
INTEGERS = {types.float32: types.int32, types.float64: types.int64}
FLOATS = {integer: float_ for float_, integer in INTEGERS.items()}


# --- the three types ----------------------------------------------------------------------------------------------


def llvm_scalar(element):
    if isinstance(element, types.Integer):
        return ir.IntType(element.bitwidth)
    return ir.FloatType() if element == types.float32 else ir.DoubleType()


class Vector(types.Type):
    """`lanes` numbers of one element type; Python numbers convert to it (every lane the same)."""

    def __init__(self, element, lanes):
        self.element, self.lanes = element, lanes
        self.llvm = ir.VectorType(llvm_scalar(element), lanes)
        super().__init__(name=f"Vector({element}, {lanes})")

    def can_convert_from(self, typingctx, other):
        return Conversion.safe if isinstance(other, types.Number) else None


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


# --- making and taking apart --------------------------------------------------------------------------------------


def constant(llvm_vector, value):
    return ir.Constant(llvm_vector, [value] * llvm_vector.count)


def spread(builder, scalar, lanes):
    """Every lane = scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(INT32, 0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), constant(ir.VectorType(INT32, lanes), 0))


@lower_cast(types.Number, Vector)
def number_to_vector(context, builder, from_type, to_type, value):
    return spread(builder, context.cast(builder, value, from_type, to_type.element), to_type.lanes)


@intrinsic(prefer_literal=True)
def every(typingctx, lanes):
    """The mask with all `lanes` (a literal) on, known at compile time."""

    def codegen(context, builder, sig, args):
        return constant(sig.return_type.llvm, 1)

    return Mask(lanes.literal_value, full=True)(lanes), codegen


def first_lanes(builder, count, lanes):
    step = ir.Constant(ir.VectorType(INT32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", step, spread(builder, builder.trunc(count, INT32), lanes))


@intrinsic(prefer_literal=True)
def first(typingctx, count, lanes):
    """The mask with the first `count` of `lanes` (a literal) on."""

    def codegen(context, builder, sig, args):
        return first_lanes(builder, args[0], sig.return_type.lanes)

    return Mask(lanes.literal_value)(types.int64, lanes), codegen


@intrinsic
def one_hot(typingctx, number, first, mask):
    """1 in the lane with first + lane = number (an integral float), 0 in the others."""
    vector = Vector(number, mask.lanes)

    def codegen(context, builder, sig, args):
        lane = ir.Constant(vector.llvm, [float(i) for i in range(vector.lanes)])
        offset = builder.fsub(args[0], builder.sitofp(args[1], args[0].type))
        hit = builder.fcmp_ordered("==", lane, spread(builder, offset, vector.lanes))
        return builder.select(hit, constant(vector.llvm, 1.0), constant(vector.llvm, 0.0))

    return vector(number, types.int64, mask), codegen


@intrinsic
def rounded(typingctx, number, pointer):
    """The number as an element of the pointer's type."""

    def codegen(context, builder, sig, args):
        return context.cast(builder, args[0], sig.args[0], sig.return_type)

    return pointer.dtype(number, pointer), codegen


# --- memory -------------------------------------------------------------------------------------------------------


def vector_at(builder, pointer, llvm_vector):
    return builder.bitcast(pointer, llvm_vector.as_pointer())


def masked_function(builder, name, llvm_vector, result, arguments):
    scalar = llvm_vector.element
    kind = f"i{scalar.width}" if isinstance(scalar, ir.IntType) else ("f32" if scalar == ir.FloatType() else "f64")
    return cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(result, arguments),
        f"llvm.masked.{name}.v{llvm_vector.count}{kind}.p0",
    )


def load_lanes(builder, pointer, vector, mask_type, mask):
    align = vector.element.bitwidth // 8
    source = vector_at(builder, pointer, vector.llvm)
    if mask_type.full:
        value = builder.load(source)
        value.align = align
        return value
    fn = masked_function(builder, "load", vector.llvm, vector.llvm, [source.type, INT32, mask_type.llvm, vector.llvm])
    return builder.call(fn, [source, INT32(align), mask, ir.Constant(vector.llvm, None)])


def store_lanes(builder, pointer, vector, value, mask_type, mask):
    align = vector.element.bitwidth // 8
    target = vector_at(builder, pointer, vector.llvm)
    if mask_type.full:
        builder.store(value, target).align = align
        return
    fn = masked_function(
        builder, "store", vector.llvm, ir.VoidType(), [vector.llvm, target.type, INT32, mask_type.llvm]
    )
    builder.call(fn, [value, target, INT32(align), mask])


@intrinsic
def load(typingctx, pointer, mask):
    """The vector at pointer; lanes that are off are 0 and their memory is not touched."""

    def codegen(context, builder, sig, args):
        return load_lanes(builder, args[0], sig.return_type, mask, args[1])

    return Vector(pointer.dtype, mask.lanes)(pointer, mask), codegen


@intrinsic
def store(typingctx, pointer, vector, mask):
    """pointer[lane] = vector[lane] for the lanes that are on; other memory is not touched."""

    def codegen(context, builder, sig, args):
        store_lanes(builder, args[0], vector, args[1], mask, args[2])
        return context.get_dummy_value()

    return types.void(pointer, vector, mask), codegen


@intrinsic
def shift(typingctx, pointer, count):
    """pointer + count elements."""

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


def cast_to(dtype_of):
    """An intrinsic that reads an integer address as a pointer."""

    @intrinsic(prefer_literal=True)
    def pointer_at(typingctx, address, *size):
        result = types.CPointer(dtype_of(*(literal.literal_value for literal in size)))

        def codegen(context, builder, sig, args):
            return builder.inttoptr(args[0], context.get_value_type(result))

        return result(types.int64, types.StarArgTuple(size)), codegen

    return pointer_at


floats_at = cast_to(lambda size: {4: types.float32, 8: types.float64}[size])
"""(address, size) -> pointer to numbers of `size` (a literal) bytes."""
integers_at = cast_to(lambda: types.int64)
doubles_at = cast_to(lambda: types.float64)


@intrinsic
def address_of(typingctx, pointer):
    """The pointer as an integer."""

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(pointer), codegen


@intrinsic(prefer_literal=True)
def copy(typingctx, out, x, count, lanes):
    """Overwrites out (count): out = x, `lanes` (a literal) at a time."""
    vector = Vector(out.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        out, x, count, _ = args
        zero, step = ir.IntType(64)(0), ir.IntType(64)(vector.lanes)
        with cgutils.for_range_slice(builder, zero, count, step, inc=True) as (i, _):
            mask = first_lanes(builder, builder.sub(count, i), vector.lanes)
            at = builder.gep(x, [i]), vector, Mask(vector.lanes), mask
            store_lanes(builder, builder.gep(out, [i]), vector, load_lanes(builder, *at), Mask(vector.lanes), mask)
        return context.get_dummy_value()

    return types.void(out, x, types.int64, lanes), codegen


# --- arithmetic ---------------------------------------------------------------------------------------------------


def float_function(builder, name, llvm_vector, arity):
    kind = "f32" if llvm_vector.element == ir.FloatType() else "f64"
    return cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(llvm_vector, [llvm_vector] * arity),
        f"llvm.{name}.v{llvm_vector.count}{kind}",
    )


@intrinsic
def multiply_add(typingctx, x, y, z):
    """x * y + z: one instruction where the CPU has it, a product and a sum elsewhere (never a call)."""
    vector = next(v for v in (x, y, z) if isinstance(v, Vector))

    def codegen(context, builder, sig, args):
        return builder.call(float_function(builder, "fmuladd", vector.llvm, 3), args)

    return vector(vector, vector, vector), codegen


def float_unary(name):
    @intrinsic
    def function(typingctx, x):
        def codegen(context, builder, sig, args):
            return builder.call(float_function(builder, name, x.llvm, 1), args)

        return x(x), codegen

    return function


sqrt = float_unary("sqrt")
absolute = float_unary("fabs")


@intrinsic
def select(typingctx, mask, x, y):
    """x where the mask is on, y elsewhere."""
    vector = x if isinstance(x, Vector) else y

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return vector(mask, vector, vector), codegen


@intrinsic
def maximum(typingctx, x, y):
    """The larger of each pair of lanes; y where one is NaN."""

    def codegen(context, builder, sig, args):
        return larger(builder, *args)

    return x(x, x), codegen


@intrinsic
def bits(typingctx, x):
    """The IEEE 754 bits of each lane, as integers of the same width."""
    integer = Vector(INTEGERS[x.element], x.lanes)

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], integer.llvm)

    return integer(x), codegen


@intrinsic
def from_bits(typingctx, x):
    """The floats whose IEEE 754 bits are given."""
    float_ = Vector(FLOATS[x.element], x.lanes)

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], float_.llvm)

    return float_(x), codegen


@intrinsic
def to_integer(typingctx, x):
    """Each lane rounded toward zero; must be in the integers' range."""
    integer = Vector(INTEGERS[x.element], x.lanes)

    def codegen(context, builder, sig, args):
        return builder.fptosi(args[0], integer.llvm)

    return integer(x), codegen


@intrinsic
def to_float(typingctx, x):
    """Each integer lane as a float."""
    float_ = Vector(FLOATS[x.element], x.lanes)

    def codegen(context, builder, sig, args):
        return builder.sitofp(args[0], float_.llvm)

    return float_(x), codegen


def reduction(combine):
    """All lanes into one number by halves: the order depends on the number of lanes alone."""

    @intrinsic
    def function(typingctx, x):
        def codegen(context, builder, sig, args):
            value, lanes = args[0], x.lanes
            while lanes > 1:
                half = lanes // 2
                undefined = ir.Constant(value.type, ir.Undefined)
                low, high = (
                    builder.shuffle_vector(
                        value,
                        undefined,
                        ir.Constant(ir.VectorType(INT32, half), list(range(begin, begin + half))),
                    )
                    for begin in (0, half)
                )
                value, lanes = combine(builder, low, high), half
            return builder.extract_element(value, INT32(0))

        return x.element(x), codegen

    return function


def larger(builder, x, y):
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


sum_lanes = reduction(lambda builder, x, y: builder.fadd(x, y))
max_lanes = reduction(larger)


@intrinsic
def not_all(typingctx, mask):
    """1 if any lane is off, else 0."""

    def codegen(context, builder, sig, args):
        number = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return builder.zext(builder.icmp_unsigned("!=", number, ir.IntType(mask.lanes)(-1)), ir.IntType(64))

    return types.int64(mask), codegen


# --- operators: float instruction, integer instruction -------------------------------------------------------------

ARITHMETIC = {
    operator.add: ("fadd", "add"),
    operator.sub: ("fsub", "sub"),
    operator.mul: ("fmul", "mul"),
    operator.truediv: ("fdiv", None),
    operator.lshift: (None, "shl"),
    operator.rshift: (None, "ashr"),
    operator.and_: (None, "and_"),
    operator.or_: (None, "or_"),
}
COMPARISONS = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
}


def vector_of(args):
    """The vector type among the operands, if all the others are numbers or the same vector."""
    vectors = {a for a in args if isinstance(a, Vector)}
    others = [a for a in args if not isinstance(a, (Vector, types.Number))]
    return vectors.pop() if len(vectors) == 1 and not others else None


def define_arithmetic(op, float_name, integer_name):
    @infer_global(op)
    class Arithmetic(AbstractTemplate):
        def generic(self, args, kws):
            vector = vector_of(args)
            if vector is not None:
                return signature(vector, vector, vector)
            if len(args) == 2 and args[0] == args[1] and isinstance(args[0], Mask):
                mask = Mask(args[0].lanes)
                return signature(mask, *args)
            return None

    @lower_builtin(op, Vector, Vector)
    def lower(context, builder, sig, args):
        is_float = isinstance(sig.return_type.element, types.Float)
        return getattr(builder, float_name if is_float else integer_name)(*args)

    if integer_name in ("and_", "or_"):

        @lower_builtin(op, Mask, Mask)
        def lower_mask(context, builder, sig, args):
            return getattr(builder, integer_name)(*args)


def define_comparison(op, symbol):
    @infer_global(op)
    class Comparison(AbstractTemplate):
        def generic(self, args, kws):
            vector = vector_of(args)
            if vector is not None:
                return signature(Mask(vector.lanes), vector, vector)
            return None

    @lower_builtin(op, Vector, Vector)
    def lower(context, builder, sig, args):
        if isinstance(sig.args[0].element, types.Integer):
            return builder.icmp_signed(symbol, *args)
        # != is true for NaN (unordered), as in Python; the others are false
        return (builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered)(symbol, *args)


for op, names in ARITHMETIC.items():
    define_arithmetic(op, *names)
for op, symbol in COMPARISONS.items():
    define_comparison(op, symbol)


@infer_global(operator.neg)
class Negation(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Vector):
            return signature(args[0], args[0])
        return None


@lower_builtin(operator.neg, Vector)
def lower_negation(context, builder, sig, args):
    return builder.fneg(args[0])
