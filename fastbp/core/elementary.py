"""exp, expm1, log, log1p, tanh, sigmoid and softplus of a vector, for float32 and float64 from one source.

Reductions and coefficients follow Cephes (S. Moshier) and FDLIBM (Sun Microsystems); every function keeps NaN and
is right at infinities, signed zeros and subnormal results. No libm, no table, no branch. All are formulas on Lanes;
constants that depend on the element type are looked up by its size in bytes.
"""

import math

from .traced import absolute, bits, from_bits, multiply_add, select, to_float

LOG2_E = 1.4426950408889634
LN2_HIGH = {4: 0.693359375, 8: 6.93147180369123816490e-01}  # few bits: n * LN2_HIGH is exact
LN2_LOW = {4: -2.12194440e-4, 8: 1.90821492927058770002e-10}
ROUND = {4: 1.5 * 2.0**23, 8: 1.5 * 2.0**52}  # adding it leaves the nearest integer in the lowest bits
ROUND_BITS = {4: 0x4B400000, 8: 0x4338000000000000}
MANTISSA = {4: 23, 8: 52}  # bits
MANTISSA_BITS = {4: 0x007FFFFF, 8: 0x000FFFFFFFFFFFFF}
BIAS = {4: 127, 8: 1023}
SIGN = {4: -0x80000000, 8: -0x8000000000000000}
EXP_LOW, EXP_HIGH = {4: -104.0, 8: -746.0}, {4: 89.0, 8: 710.0}
ONE_BITS = {4: 0x3F800000, 8: 0x3FF0000000000000}
SQRT_HALF_BITS = {4: 0x3F3504F3, 8: 0x3FE6A09E667F3BCD}
SMALLEST_NORMAL = {4: 2.0**-126, 8: 2.0**-1022}

# (e^r - 1 - r) / r² for |r| <= ln(2) / 2: Cephes expf; the Taylor series
EXP_TAIL = {
    4: [5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4],
    8: [1 / math.factorial(n) for n in range(2, 14)],
}

# ((log(1 + f) - f + f²/2) / s - f²/2) / s² for s = f / (2 + f): FreeBSD's logf; FDLIBM's log
LOG_TAIL = {
    4: [0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841],
    8: [
        6.666666666666735130e-01,
        3.999999999940941908e-01,
        2.857142874366239149e-01,
        2.222219843214978396e-01,
        1.818357216161805012e-01,
        1.531383769920937332e-01,
        1.479819860511658591e-01,
    ],
}


def polynomial(x, coefficients):
    """Σ_i c_i x^i by Horner's rule, the lowest coefficient first."""
    *lower, highest = coefficients
    value = x.constant(highest)
    for coefficient in reversed(lower):
        value = multiply_add(value, x, coefficient)
    return value


def reduced(x):
    """(n, r, e^r - 1 - r) with x = n ln 2 + r, n integers, |r| <= ln(2) / 2."""
    size = x.size
    shifted = multiply_add(x, LOG2_E, ROUND[size])
    n = shifted - ROUND[size]
    r = multiply_add(-n, LN2_LOW[size], multiply_add(-n, LN2_HIGH[size], x))
    return bits(shifted) - ROUND_BITS[size], r, r * r * polynomial(r, EXP_TAIL[size])


def power_of_two(n):
    """2^n for integers n in the range of normal exponents."""
    return from_bits((n + BIAS[n.size]) << MANTISSA[n.size])


def exp(x):
    """e^x; subnormal below, inf above the range."""
    low, high = EXP_LOW[x.size], EXP_HIGH[x.size]
    x = select(x < low, low, x)
    x = select(x > high, high, x)
    n, r, tail = reduced(x)
    half = n >> 1  # 2^n in two factors: neither overflows where the product does not
    return (1.0 + (r + tail)) * power_of_two(half) * power_of_two(n - half)


def expm1(x):
    """e^x - 1 for |x| < 64, exact to a few ulp also near 0."""
    n, r, tail = reduced(x)
    scale = power_of_two(n)
    return multiply_add(scale, r + tail, scale - 1.0)


def log(x):
    """Natural logarithm; -inf at 0, NaN below."""
    size = x.size
    small = x < SMALLEST_NORMAL[size]
    scaled = select(small, x * 2.0**54, x)
    shifted = bits(scaled) + (ONE_BITS[size] - SQRT_HALF_BITS[size])
    k = to_float((shifted >> MANTISSA[size]) - BIAS[size]) - select(small, 54.0, x.constant(0.0))
    f = from_bits((shifted & MANTISSA_BITS[size]) + SQRT_HALF_BITS[size]) - 1.0  # sqrt(1/2) <= 1 + f < sqrt(2)
    s = f / (2.0 + f)
    square = s * s
    half = 0.5 * f * f
    tail = multiply_add(s, half + square * polynomial(square, LOG_TAIL[size]), k * LN2_LOW[size])
    y = multiply_add(k, LN2_HIGH[size], f - (half - tail))
    y = select(x == 0.0, -math.inf, select(x < 0.0, math.nan, y))
    return select(x == math.inf, x, select(x != x, x, y))


def log1p(u):
    """log(1 + u) for 0 <= u <= 1, exact to a few ulp also near 0."""
    w = 1.0 + u
    return log(w) + (u - (w - 1.0)) / w


def tanh(x):
    """Hyperbolic tangent: e / (e + 2), e = expm1(2 |x|), with the sign of x."""
    y = absolute(x)
    e = expm1(select(y > 22.0, 44.0, y + y))
    return from_bits(bits(e / (e + 2.0)) | (bits(x) & SIGN[x.size]))


def sigmoid(x):
    """1 / (1 + e^-x), without overflow: e = e^-|x|, then 1 / (1 + e) or e / (1 + e)."""
    e = exp(-absolute(x))
    return select(x < 0.0, e, 1.0) / (1.0 + e)


def softplus(x):
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    return select(x < 0.0, 0.0, x) + log1p(exp(-absolute(x)))
