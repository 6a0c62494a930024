"""Words: lanes of 32 bits without signs, for formulas (ir/traced.py) such as those of random number generators."""

from llvmlite import ir

from fastbp.core.ir.lanes import Lanes
from fastbp.core.ir.types import INT32, INT64, constant, spread

HALF = 32  # bits
LOW = (1 << HALF) - 1


def low_words(number, lanes):
    """The low 32 bits of an Integer, in every lane."""
    builder = number.builder
    return Lanes(builder, spread(builder, builder.trunc(number.value, INT32), lanes))


def product(x, multiplier):
    """The high and the low words of x * multiplier: even and odd lanes apart, in 64 bits."""
    builder, words, wide = x.builder, x.value.type, ir.VectorType(INT64, x.value.type.count // 2)
    low, half, factor = (constant(wide, number) for number in (LOW, HALF, multiplier))
    pairs = builder.bitcast(x.value, wide)
    even, odd = builder.mul(builder.and_(pairs, low), factor), builder.mul(builder.lshr(pairs, half), factor)
    highs = builder.or_(builder.lshr(even, half), builder.and_(odd, builder.not_(low)))
    lows = builder.or_(builder.and_(even, low), builder.shl(odd, half))
    return x.new(builder.bitcast(highs, words)), x.new(builder.bitcast(lows, words))


def at_least(x, y):
    """The mask of x >= y."""
    return x.new(x.builder.icmp_unsigned(">=", x.value, y.value))


def floats_like(x, size, number):
    """A vector of floats of `size` bytes with as many lanes as x, every lane = number."""
    element = ir.FloatType() if size == 4 else ir.DoubleType()
    return x.new(constant(ir.VectorType(element, x.value.type.count), number))
