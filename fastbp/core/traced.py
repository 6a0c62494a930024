"""Formulas written in plain Python that become instructions of the kernel that calls them (`traced`).

Such a function runs at compile time, on values in the making instead of numbers: `Lanes` (a vector or a mask), `Scalar`
(a float), `Integer`, `Pointer`. So it reads like the formula, is always vectorized, and costs Numba next to nothing:
a helper of Numba's own takes ten times longer to compile. No fast-math: every operation is rounded as it stands, so
all code that uses a formula gives the same bits.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import INT32, INT64, Mask, Vector, constant, float_function, spread

# --- values in the making -------------------------------------------------------------------------------------------


class Lanes:
    """A vector or mask of the function that is being compiled; Python's operators append instructions to it.

    Numbers, and scalars of the compiled code, are spread over the lanes. `size` is the bytes of a float lane.
    """

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    @property
    def size(self):
        return 4 if self.value.type.element in (ir.FloatType(), INT32) else 8

    def like(self, other):
        """`other` as a value of this one's type."""
        vector = self.value.type
        if isinstance(other, Lanes):
            return other.value
        if isinstance(other, (int, float)):
            return constant(vector, other)
        if other.value.type != vector.element:
            cast = self.builder.fptrunc if vector.element == ir.FloatType() else self.builder.fpext
            other = Scalar(cast(other.value, vector.element))
        return spread(self.builder, other.value, vector.count)

    def operate(self, float_name, integer_name, other, swapped=False):
        is_float = not isinstance(self.value.type.element, ir.IntType)
        x, y = self.value, self.like(other)
        return self.new(
            getattr(self.builder, float_name if is_float else integer_name)(*((y, x) if swapped else (x, y)))
        )

    def compare(self, symbol, other):
        # != is true for NaN, as in Python; the other comparisons are false
        fcmp = self.builder.fcmp_unordered if symbol == "!=" else self.builder.fcmp_ordered
        return self.new(fcmp(symbol, self.value, self.like(other)))

    def new(self, value):
        return Lanes(self.builder, value)

    def constant(self, number):
        """The number in every lane."""
        return self.new(constant(self.value.type, number))

    def spread(self, scalar):
        """A scalar of the compiled code in every lane."""
        return self.new(self.like(scalar))

    def call(self, name, *others):
        """An LLVM intrinsic on this vector and others like it."""
        values = [self.value, *map(self.like, others)]
        return self.new(self.builder.call(float_function(self.builder, name, self.value.type, len(values)), values))

    def __add__(self, other):
        return self.operate("fadd", "add", other)

    def __sub__(self, other):
        return self.operate("fsub", "sub", other)

    def __rsub__(self, other):
        return self.operate("fsub", "sub", other, swapped=True)

    def __mul__(self, other):
        return self.operate("fmul", "mul", other)

    def __truediv__(self, other):
        return self.operate("fdiv", None, other)

    def __rtruediv__(self, other):
        return self.operate("fdiv", None, other, swapped=True)

    def __lshift__(self, other):
        return self.operate(None, "shl", other)

    def __rshift__(self, other):
        return self.operate(None, "ashr", other)

    def __and__(self, other):
        return self.operate(None, "and_", other)

    def __or__(self, other):
        return self.operate(None, "or_", other)

    def __neg__(self):
        return self.new(self.builder.fneg(self.value))

    def __lt__(self, other):
        return self.compare("<", other)

    def __gt__(self, other):
        return self.compare(">", other)

    def __eq__(self, other):
        return self.compare("==", other)

    def __ne__(self, other):
        return self.compare("!=", other)

    __hash__ = None
    __radd__, __rmul__ = __add__, __mul__


class Scalar:
    """A float of the compiled code."""

    def __init__(self, value):
        self.value = value


class Integer:
    """An int64 of the compiled code; comparisons give 0 or 1. Quotients of numbers that are not negative."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def new(self, other):
        return other if isinstance(other, Integer) else Integer(self.builder, INT64(other))

    def operate(self, name, other):
        return Integer(self.builder, getattr(self.builder, name)(self.value, self.new(other).value))

    def compare(self, symbol, other):
        holds = self.builder.icmp_signed(symbol, self.value, self.new(other).value)
        return Integer(self.builder, self.builder.zext(holds, INT64))

    def __add__(self, other):
        return self.operate("add", other)

    def __sub__(self, other):
        return self.operate("sub", other)

    def __rsub__(self, other):
        return self.new(other) - self

    def __mul__(self, other):
        return self.operate("mul", other)

    def __floordiv__(self, other):
        return self.operate("sdiv", other)

    def __rfloordiv__(self, other):
        return self.new(other) // self

    def __lt__(self, other):
        return self.compare("<", other)

    def __ge__(self, other):
        return self.compare(">=", other)

    def __eq__(self, other):
        return self.compare("==", other)

    __hash__ = None
    __radd__, __rmul__ = __add__, __mul__


class Pointer:
    """A pointer of the compiled code to int64 numbers, or to floats that are not looked at."""

    def __init__(self, builder, value, type_):
        self.builder, self.value, self.type = builder, value, type_

    def __add__(self, count):
        count = count.value if isinstance(count, Integer) else INT64(count)
        return Pointer(self.builder, self.builder.gep(self.value, [count]), self.type)

    def __getitem__(self, index):
        return Integer(self.builder, self.builder.load((self + index).value))


def chosen(condition, x, y):
    """x if the condition (0 or 1) holds, else y; one of them is an Integer."""
    like = x if isinstance(x, Integer) else y
    holds = like.builder.trunc(condition.value, ir.IntType(1))
    return Integer(like.builder, like.builder.select(holds, like.new(x).value, like.new(y).value))


def smaller(x, y):
    """The smaller of two integers."""
    return chosen(x < y, x, y)


# --- formulas on Lanes -------------------------------------------------------------------------------------------


def multiply_add(x, y, z):
    """x * y + z: one instruction where the CPU has it, a product and a sum elsewhere (never a call)."""
    return x.call("fmuladd", y, z)


def sqrt(x):
    return x.call("sqrt")


def absolute(x):
    return x.call("fabs")


def select(mask, x, y):
    """x where the mask is on, y elsewhere; one of them is Lanes."""
    like = x if isinstance(x, Lanes) else y
    return like.new(like.builder.select(mask.value, like.like(x), like.like(y)))


def maximum(x, y):
    """The larger of each pair of lanes; y where one is NaN."""
    return select(x > y, x, y)


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


def sum_lanes(x):
    return reduce_lanes(x, lambda low, high: low + high)


def max_lanes(x):
    return reduce_lanes(x, maximum)


def any_off(mask):
    """1 if any lane of the mask is off, else 0."""
    whole = ir.IntType(mask.value.type.count)
    some = mask.builder.icmp_unsigned("!=", mask.builder.bitcast(mask.value, whole), whole(-1))
    return Integer(mask.builder, mask.builder.zext(some, INT64))


# --- from formulas to compiled code ---------------------------------------------------------------------------------


def traced(function):
    """The function on Lanes (and scalars, and tuples of scalars) as one that compiled code can call."""

    @intrinsic
    def formula(typingctx, *arguments):
        trial = ir.IRBuilder(ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "trial").append_basic_block())
        result = numba_type(run(trial, arguments, [ir.Constant(llvm_type(t), ir.Undefined) for t in arguments]))

        def codegen(context, builder, sig, args):
            values = [builder.extract_value(args[0], i) for i in range(len(arguments))]
            out = run(builder, arguments, values)
            if isinstance(out, tuple):
                return context.make_tuple(builder, sig.return_type, [part.value for part in out])
            return out.value

        return result(types.StarArgTuple(arguments)), codegen

    def run(builder, arguments, values):
        return function(*(wrapped(builder, *pair) for pair in zip(arguments, values, strict=True)))

    return formula


def llvm_type(type_):
    if isinstance(type_, (Vector, Mask)):
        return type_.llvm
    if isinstance(type_, types.UniTuple):
        return ir.ArrayType(llvm_type(type_.dtype), type_.count)
    if isinstance(type_, types.CPointer):
        return llvm_type(type_.dtype).as_pointer()
    if isinstance(type_, types.Integer):
        return INT64
    return ir.FloatType() if type_ == types.float32 else ir.DoubleType()


def wrapped(builder, type_, value):
    if isinstance(type_, (Vector, Mask)):
        return Lanes(builder, value)
    if isinstance(type_, types.UniTuple):
        return tuple(wrapped(builder, type_.dtype, builder.extract_value(value, i)) for i in range(type_.count))
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


minimum = traced(smaller)
