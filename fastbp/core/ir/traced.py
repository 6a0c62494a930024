"""Formulas written in plain Python that become instructions of the kernel that calls them (`traced`).

Such a function runs at compile time, on symbolic values instead of numbers: `Lanes` (a vector or a mask), `Scalar`
(a float), `Integer`, `Pointer`. So it reads like the formula, is always vectorized, and costs Numba next to nothing:
a helper of Numba's own takes ten times longer to compile. No fast-math: every operation is rounded as it stands, so
all code that uses a formula gives the same bits.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, lower_builtin, type_callable

from fastbp.core.ir.lanes import Integer, Lanes, Pointer, Scalar
from fastbp.core.ir.types import INT32, INT64, Mask, Vector

# --- formulas on Lanes -------------------------------------------------------------------------------------------


def multiply_add(x, y, z):
    """x * y + z: one instruction where the CPU has it, a product and a sum elsewhere (never a call)."""
    return x.call("fmuladd", y, z)


def sqrt(x):
    return x.call("sqrt")


def absolute(x):
    return x.call("fabs")


def select(condition, x, y):
    """x where the condition holds, y elsewhere: of a mask and Lanes, one at least, or of Integers, one at least."""
    if isinstance(condition, Integer):
        like = x if isinstance(x, Integer) else y
        return like.new(like.builder.select(condition.bit, like.like(x).value, like.like(y).value))
    like = x if isinstance(x, Lanes) else y
    return like.new(like.builder.select(condition.value, like.like(x), like.like(y)))


def minimum(x, y):
    """The smaller of two integers, or of each pair of lanes; y where one is NaN. Compiled code may call it, too."""
    return select(x < y, x, y)


def maximum(x, y):
    """The larger of two integers, or of each pair of lanes; y where one is NaN. Compiled code may call it, too."""
    return select(x > y, x, y)


def widened(x):
    """Each lane as float64."""
    return x if x.size == 8 else x.new(x.builder.fpext(x.value, ir.VectorType(ir.DoubleType(), x.value.type.count)))


def integers_of(x):
    return ir.VectorType(ir.IntType(8 * x.size), x.value.type.count)


def floats_of(x):
    return ir.VectorType(ir.FloatType() if x.size == 4 else ir.DoubleType(), x.value.type.count)


def bits(x):
    """The IEEE 754 bits of each lane, as integers of the same width."""
    return x.new(x.builder.bitcast(x.value, integers_of(x)))


def from_bits(x):
    """The floats whose IEEE 754 bits are given."""
    return x.new(x.builder.bitcast(x.value, floats_of(x)))


def to_float(x):
    """Each integer lane as a float."""
    return x.new(x.builder.sitofp(x.value, floats_of(x)))


def narrowed(x, like):
    """Each double as a number of the kind that `like` has."""
    return x if like.size == 8 else x.new(x.builder.fptrunc(x.value, like.value.type))


def rarely(mask, x, other):
    """x, and other() in the lanes where the mask is on: a branch, taken only where there is such a lane."""
    builder, before = x.builder, x.builder.block
    found = builder.trunc(any_off(mask.new(builder.not_(mask.value))).value, ir.IntType(1))
    with builder.if_then(found, likely=False):
        replaced, inside = select(mask, other(), x), builder.block
    result = builder.phi(x.value.type)
    result.add_incoming(x.value, before)
    result.add_incoming(replaced.value, inside)
    return x.new(result)


def reduce_lanes(x, combine):
    """All lanes into one number by halves: the order depends on the number of lanes alone."""
    builder, value, lanes = x.builder, x.value, x.value.type.count
    while lanes > 1:
        lanes //= 2
        low, high = (
            builder.shuffle_vector(
                value,
                ir.Constant(value.type, ir.Undefined),
                ir.Constant(ir.VectorType(INT32, lanes), list(range(begin, begin + lanes))),
            )
            for begin in (0, lanes)
        )
        value = combine(x.new(low), x.new(high)).value
    return Scalar(builder.extract_element(value, INT32(0)))


def sum_by_halves(vectors):
    half = len(vectors) // 2
    return sum_by_halves(vectors[:half]) + sum_by_halves(vectors[half:]) if half else vectors[0]


def sum_lanes(x):
    return reduce_lanes(x, lambda low, high: low + high)


def max_lanes(x):
    return reduce_lanes(x, maximum)


def any_off(mask):
    """1 if any lane of the mask is off, else 0."""
    whole = ir.IntType(mask.value.type.count)
    found = mask.builder.icmp_unsigned("!=", mask.builder.bitcast(mask.value, whole), whole(-1))
    return Integer(mask.builder, mask.builder.zext(found, INT64))


# --- from formulas to compiled code ---------------------------------------------------------------------------------


def traced(function, literals=0):
    """The function on Lanes (and scalars, pointers, and tuples of them) as one that compiled code can call.

    The last `literals` arguments are integers that the compiler knows; the function gets them as Python's.
    """

    def result_of(arguments, known):
        trial = ir.IRBuilder(ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "trial").append_basic_block())
        undefined = [ir.Constant(llvm_type(t), ir.Undefined) for t in arguments]
        return numba_type(function(*symbolic(trial, arguments, undefined), *known))

    return compiled(function, literals, result_of)


def procedure(function, literals=0):
    """As `traced`, of a function that returns nothing: it writes to memory."""
    return compiled(function, literals, lambda arguments, known: types.void)


def compiled(function, literals, result_of):
    @intrinsic(prefer_literal=literals > 0)
    def formula(typingctx, *arguments):
        at = len(arguments) - literals
        variable, last = tuple(map(types.unliteral, arguments[:at])), arguments[at:]
        if not all(isinstance(t, types.Literal) for t in last):
            return None  # does not fit: Numba comes again with literals
        known = [t.literal_value for t in last]

        def codegen(context, builder, sig, args):
            out = function(*symbolic(builder, variable, elements(builder, args[0])[:at]), *known)
            if out is None:
                return context.get_dummy_value()
            if isinstance(out, tuple):
                return context.make_tuple(builder, sig.return_type, [part.value for part in out])
            return out.value

        return result_of(variable, known)(types.StarArgTuple((*variable, *last))), codegen

    return formula


def elements(builder, values):
    """Of an LLVM tuple."""
    return [builder.extract_value(values, i) for i in range(len(values.type.elements))]


def symbolic(builder, arguments, values):
    """The values as symbolic ones; `arguments` are their Numba types."""
    return [wrapped(builder, *pair) for pair in zip(arguments, values, strict=True)]


def llvm_type(type_):
    if isinstance(type_, (Vector, Mask)):
        return type_.llvm
    if isinstance(type_, types.UniTuple):
        return ir.ArrayType(llvm_type(type_.dtype), type_.count)
    if isinstance(type_, types.BaseTuple):
        return ir.LiteralStructType(map(llvm_type, type_.types))
    if isinstance(type_, types.CPointer):
        return llvm_type(type_.dtype).as_pointer()
    if isinstance(type_, types.Integer):
        return INT64
    return ir.FloatType() if type_ == types.float32 else ir.DoubleType()


def wrapped(builder, type_, value):
    if isinstance(type_, (Vector, Mask)):
        return Lanes(builder, value)
    if isinstance(type_, types.BaseTuple):
        return tuple(wrapped(builder, t, builder.extract_value(value, i)) for i, t in enumerate(type_.types))
    if isinstance(type_, types.CPointer):
        return Pointer(builder, value, type_)
    return Integer(builder, value) if isinstance(type_, types.Integer) else Scalar(value)


def numba_type(result):
    """The Numba type of what a formula has made."""
    if isinstance(result, tuple):
        return types.Tuple([numba_type(part) for part in result])
    if isinstance(result, Pointer):
        return result.type
    if isinstance(result, Integer):
        return types.int64
    type_ = result.value.type
    element = getattr(type_, "element", type_)
    if isinstance(element, ir.IntType):
        return Mask(type_.count)
    number = types.float32 if element == ir.FloatType() else types.float64
    return Vector(number, type_.count) if isinstance(result, Lanes) else number


# --- formulas that compiled code calls ------------------------------------------------------------------------------


def callable_from_compiled_code(formula):
    """Lets compiled code call the formula of two integers or two vectors by the name that other formulas use."""

    @type_callable(formula)
    def type_formula(context):
        def result(x, y):
            if isinstance(x, types.Integer) and isinstance(y, types.Integer):
                return types.int64
            return x if isinstance(x, Vector) and x == y else None

        return result

    def codegen(context, builder, sig, args):
        return formula(*symbolic(builder, map(types.unliteral, sig.args), args)).value

    for kind in (types.Integer, Vector):
        lower_builtin(formula, kind, kind)(codegen)


callable_from_compiled_code(minimum)
callable_from_compiled_code(maximum)

plus = traced(lambda x, y: x + y)
sum_of, max_of = traced(sum_lanes), traced(max_lanes)
