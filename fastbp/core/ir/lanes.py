"""Symbolic values: what a formula works on while it is traced. Python's operators append instructions to them."""

from llvmlite import ir
from numba.core import types

from fastbp.core.ir.types import (
    INT32,
    INT64,
    Mask,
    Vector,
    constant,
    first_lanes,
    float_function,
    load_lanes,
    spread,
    store_lanes,
)


class Comparable:
    """Comparison operators of symbolic values, by their `compare(symbol, other)`."""

    def __lt__(self, other):
        return self.compare("<", other)

    def __le__(self, other):
        return self.compare("<=", other)

    def __gt__(self, other):
        return self.compare(">", other)

    def __ge__(self, other):
        return self.compare(">=", other)

    def __eq__(self, other):
        return self.compare("==", other)

    def __ne__(self, other):
        return self.compare("!=", other)

    __hash__ = None


class Lanes(Comparable):
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
        if isinstance(self.value.type.element, ir.IntType):
            return self.new(self.builder.icmp_signed(symbol, self.value, self.like(other)))
        # != is true for NaN, as in Python; the other comparisons are false
        fcmp = self.builder.fcmp_unordered if symbol == "!=" else self.builder.fcmp_ordered
        return self.new(fcmp(symbol, self.value, self.like(other)))

    def new(self, value):
        return Lanes(self.builder, value)

    def constant(self, number):
        """The number in every lane."""
        return self.new(constant(self.value.type, number))

    def lanewise(self, numbers):
        """A constant of this one's type, lane by lane."""
        return self.new(self.value.type(list(numbers)))

    def mask(self, bits):
        """A constant mask for this one's lanes."""
        return self.new(Mask(self.value.type.count).llvm(list(bits)))

    def __getitem__(self, lane):
        return Scalar(self.builder.extract_element(self.value, INT32(lane)))

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

    def __xor__(self, other):
        return self.operate(None, "xor", other)

    def __neg__(self):
        return self.new(self.builder.fneg(self.value))

    __radd__, __rmul__ = __add__, __mul__


class Scalar:
    """A float of the compiled code."""

    def __init__(self, value):
        self.value = value


class Integer(Comparable):
    """An int64 of the compiled code; comparisons give 0 or 1. Quotients of numbers that are not negative."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def new(self, value):
        return Integer(self.builder, value)

    def like(self, other):
        return other if isinstance(other, Integer) else self.new(INT64(other))

    @property
    def bit(self):
        """The lowest bit: whether a comparison holds."""
        return self.builder.trunc(self.value, ir.IntType(1))

    def operate(self, name, other):
        return self.new(getattr(self.builder, name)(self.value, self.like(other).value))

    def compare(self, symbol, other):
        holds = self.builder.icmp_signed(symbol, self.value, self.like(other).value)
        return self.new(self.builder.zext(holds, INT64))

    def __add__(self, other):
        return self.operate("add", other)

    def __sub__(self, other):
        return self.operate("sub", other)

    def __rsub__(self, other):
        return self.like(other) - self

    def __mul__(self, other):
        return self.operate("mul", other)

    def __floordiv__(self, other):
        return self.operate("sdiv", other)

    def __mod__(self, other):
        return self.operate("srem", other)

    def __and__(self, other):
        return self.operate("and_", other)

    def __or__(self, other):
        return self.operate("or_", other)

    __radd__, __rmul__ = __add__, __mul__


class Pointer:
    """A pointer of the compiled code to int64 numbers or to floats."""

    def __init__(self, builder, value, type_):
        self.builder, self.value, self.type = builder, value, type_

    def new(self, value):
        return Pointer(self.builder, value, self.type)

    def __add__(self, count):
        count = count.value if isinstance(count, Integer) else INT64(count)
        return self.new(self.builder.gep(self.value, [count]))

    def __getitem__(self, index):
        number = self.builder.load((self + index).value)
        return Integer(self.builder, number) if isinstance(self.type.dtype, types.Integer) else Scalar(number)

    def __setitem__(self, index, number):
        self.builder.store(number.value, (self + index).value)

    def __getattr__(self, name):
        """The number in a field of a table (ir/views.py)."""
        table = getattr(self.type, "table", None)
        field = table and table.fields.get(name)
        if field is None or field.in_place or field.type != types.int64:
            raise AttributeError(f"{self.type} has no number {name}")
        return self[getattr(table, name)]

    def filled(self, lanes, number):
        """A vector of the floats pointed to, every lane = number."""
        zero = Lanes(self.builder, constant(Vector(self.type.dtype, lanes).llvm, 0.0))
        return zero.new(zero.like(number))

    def load(self, lanes, mask=None):
        """The vector at the pointer; lanes that are off are 0 and their memory is not touched.

        mask: a mask, the number of the first lanes that are on, or None for all.
        """
        vector = Vector(self.type.dtype, lanes)
        return Lanes(self.builder, load_lanes(self.builder, self.value, vector, *mask_of(mask, lanes)))

    def store(self, x, mask=None):
        """Overwrites the lanes that are on; other memory is not touched. mask: as of `load`."""
        lanes = x.value.type.count
        vector = Vector(self.type.dtype, lanes)
        store_lanes(self.builder, self.value, vector, x.value, *mask_of(mask, lanes))

    def opaque(self):
        """The same pointer, of which LLVM does not know where it comes from.

        It would otherwise find each row's address by an addition to that of the row before: a chain as long as a loop.
        """
        same = ir.FunctionType(self.value.type, [self.value.type])
        return self.new(self.builder.asm(same, "", "=r,0", [self.value], side_effect=False))


def mask_of(mask, lanes):
    """Its type and its LLVM value: see `Pointer.load`."""
    if mask is None or (isinstance(mask, int) and mask >= lanes):
        return Mask(lanes, full=True), None
    kind = Mask(lanes)
    return kind, kind.llvm([int(i < mask) for i in range(lanes)]) if isinstance(mask, int) else mask.value


def leading_lanes(count, lanes):
    """The mask with the first `count` (an Integer) of `lanes` on."""
    return Lanes(count.builder, first_lanes(count.builder, count.value, lanes))


def all_or_none(condition, lanes):
    """The mask with all lanes on if the condition (an Integer, 0 or 1) holds, else none."""
    return only_if(condition, Lanes(condition.builder, constant(Mask(lanes).llvm, 1)))


def only_if(condition, mask):
    """The mask if the condition holds, else one with all lanes off."""
    return mask.new(mask.builder.select(condition.bit, mask.value, constant(mask.value.type, 0)))
