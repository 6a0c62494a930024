"""exp, expm1, log, log1p, tanh, sigmoid and softplus of a vector, for float32 and float64 from one source.

Reductions and coefficients follow Cephes (S. Moshier) and FDLIBM (Sun Microsystems); every function keeps NaN and
is right at infinities, signed zeros and subnormal results. No libm, no table, no branch.
"""

import math

from numba.core import types
from numba.extending import intrinsic

from .compile import inline
from .simd import (
    INTEGERS,
    Vector,
    absolute,
    bits,
    constant,
    float_function,
    from_bits,
    multiply_add,
    select,
    to_float,
)


def per_type(float32, float64, integer=False):
    """A constant that depends on the element type of its argument: `NAME(x)` has the lanes of x."""

    @intrinsic
    def value(typingctx, x):
        result = Vector(INTEGERS[x.element], x.lanes) if integer else x

        def codegen(context, builder, sig, args):
            return constant(result.llvm, float32 if x.element == types.float32 else float64)

        return result(x), codegen

    return value


def polynomial(float32, float64):
    """x -> Σ_i c_i x^i by Horner's rule, with the coefficients (lowest first) of x's element type."""

    @intrinsic
    def value(typingctx, x):
        def codegen(context, builder, sig, args):
            *lower, highest = float32 if x.element == types.float32 else float64
            fn = float_function(builder, "fmuladd", x.llvm, 3)
            total = constant(x.llvm, highest)
            for coefficient in reversed(lower):
                total = builder.call(fn, [total, args[0], constant(x.llvm, coefficient)])
            return total

        return x(x), codegen

    return value


LOG2_E = 1.4426950408889634
LN2_HIGH = per_type(0.693359375, 6.93147180369123816490e-01)  # few bits: n * LN2_HIGH is exact
LN2_LOW = per_type(-2.12194440e-4, 1.90821492927058770002e-10)
ROUND = per_type(1.5 * 2.0**23, 1.5 * 2.0**52)  # adding it leaves the nearest integer in the lowest bits
ROUND_BITS = per_type(0x4B400000, 0x4338000000000000, integer=True)
MANTISSA = per_type(23, 52, integer=True)  # bits
BIAS = per_type(127, 1023, integer=True)
SIGN = per_type(-0x80000000, -0x8000000000000000, integer=True)
EXP_LOW, EXP_HIGH = per_type(-104.0, -746.0), per_type(89.0, 710.0)

# (e^r - 1 - r) / r² for |r| <= ln(2) / 2: Cephes expf; the Taylor series
EXP_TAIL = polynomial(
    [5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4],
    [1 / math.factorial(n) for n in range(2, 14)],
)

# (log(1 + f) - f + f²/2) / s - f²/2 over s² for s = f / (2 + f): FreeBSD's logf; FDLIBM's log
LOG_TAIL = polynomial(
    [0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841],
    [
        6.666666666666735130e-01,
        3.999999999940941908e-01,
        2.857142874366239149e-01,
        2.222219843214978396e-01,
        1.818357216161805012e-01,
        1.531383769920937332e-01,
        1.479819860511658591e-01,
    ],
)
SQRT_HALF_BITS = per_type(0x3F3504F3, 0x3FE6A09E667F3BCD, integer=True)
ONE_LESS_SQRT_HALF_BITS = per_type(0x3F800000 - 0x3F3504F3, 0x3FF0000000000000 - 0x3FE6A09E667F3BCD, integer=True)
MANTISSA_BITS = per_type(0x007FFFFF, 0x000FFFFFFFFFFFFF, integer=True)
SMALLEST_NORMAL = per_type(2.0**-126, 2.0**-1022)
INFINITY = per_type(float("inf"), float("inf"))
ZERO = per_type(0.0, 0.0)
ONE = per_type(1.0, 1.0)
NAN = per_type(float("nan"), float("nan"))


@inline
def reduced(x):
    """(n, r, (e^r - 1 - r)) with x = n ln 2 + r, n integral, |r| <= ln(2) / 2."""
    shifted = multiply_add(x, LOG2_E, ROUND(x))
    n = shifted - ROUND(x)
    r = multiply_add(-n, LN2_LOW(x), multiply_add(-n, LN2_HIGH(x), x))
    return bits(shifted) - ROUND_BITS(x), r, r * r * EXP_TAIL(r)


@inline
def power_of_two(n, x):
    """2^n for integers n in the range of normal exponents; x only names the type."""
    return from_bits((n + BIAS(x)) << MANTISSA(x))


@inline
def exp(x):
    """e^x; subnormal below, inf above the range."""
    x = select(x < EXP_LOW(x), EXP_LOW(x), x)
    x = select(x > EXP_HIGH(x), EXP_HIGH(x), x)
    n, r, tail = reduced(x)
    half = n >> 1  # 2^n in two factors: neither overflows where the product does not
    return ((1.0 + (r + tail)) * power_of_two(half, x)) * power_of_two(n - half, x)


@inline
def expm1(x):
    """e^x - 1 for |x| < 64, exact to a few ulp also near 0."""
    n, r, tail = reduced(x)
    scale = power_of_two(n, x)
    return multiply_add(scale, r + tail, scale - 1.0)


@inline
def log(x):
    """Natural logarithm; -inf at 0, NaN below."""
    small = x < SMALLEST_NORMAL(x)
    scaled = select(small, x * 18014398509481984.0, x)  # 2^54
    shifted = bits(scaled) + ONE_LESS_SQRT_HALF_BITS(x)
    k = to_float((shifted >> MANTISSA(x)) - BIAS(x)) - select(small, 54.0, ZERO(x))
    f = from_bits((shifted & MANTISSA_BITS(x)) + SQRT_HALF_BITS(x)) - 1.0  # sqrt(1/2) <= 1 + f < sqrt(2)
    s = f / (2.0 + f)
    square = s * s
    half = 0.5 * f * f
    tail = multiply_add(s, half + square * LOG_TAIL(square), k * LN2_LOW(x))
    y = multiply_add(k, LN2_HIGH(x), f - (half - tail))
    y = select(x == 0.0, -INFINITY(x), select(x < 0.0, NAN(x), y))
    return select(x == INFINITY(x), x, select(x != x, x, y))


@inline
def log1p(u):
    """log(1 + u) for 0 <= u <= 1, exact to a few ulp also near 0."""
    w = 1.0 + u
    return log(w) + (u - (w - 1.0)) / w


@inline
def tanh(x):
    """Hyperbolic tangent: e / (e + 2), e = expm1(2 |x|), with the sign of x."""
    y = absolute(x)
    e = expm1(select(y > 22.0, 44.0, y + y))
    return from_bits(bits(e / (e + 2.0)) | (bits(x) & SIGN(x)))


@inline
def sigmoid(x):
    """1 / (1 + e^-x), without overflow: e = e^-|x|, then 1 / (1 + e) or e / (1 + e)."""
    e = exp(-absolute(x))
    return select(x < 0.0, e, 1.0) / (1.0 + e)


@inline
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    return select(x < 0.0, ZERO(x), x) + log1p(exp(-absolute(x)))
