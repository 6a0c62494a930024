"""exp, expm1, log, log1p, tanh, sigmoid, softplus, erf, sin and cos of a vector, for float32 and float64.

Reductions and coefficients follow Cephes (S. Moshier) and FDLIBM (Sun Microsystems), except those of erf, which are
interpolated; every function keeps NaN and is right within 4 ulp for all numbers, at infinities, signed zeros and
subnormals (test_elementary.py). No table, no branch, no libm but in sin and cos beyond 1e5. All are formulas on
Lanes; constants that depend on the element type are looked up by its size in bytes.
"""

import math

from fastbp.core.ir.traced import absolute, bits, from_bits, multiply_add, narrowed, rarely, select, to_float, widened

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

# tanh(z) / z = P(z²) / Q(z²) for |z| <= ln(2) / 4, P ending in 1 z^2m: minimax, relative errors 5.4e-10 and 4.9e-18
TANH_END = {4: 10.0, 8: 20.0}  # tanh is 1 from there on
TANH_P = {4: [15.019325976283931], 8: [945.7175645263509, 105.06833091718905]}
TANH_Q = {4: [15.019325976283931, 6.006437162379489], 8: [945.7175645263509, 420.3075190926317, 15.006831096072389]}

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

# erf(x) / x in powers of x², for x² <= 1
ERF = {
    4: [
        1.1283791658483509, -0.37612626666720334, 0.11283594715160218, -0.026854212010626412, 0.005189087423433974,
        -0.000801686428716587, 7.875875062685488e-05,
    ],
    8: [
        1.1283791670955126, -0.37612638903183543, 0.11283791670945006, -0.02686617064323777, 0.0052239776071164225,
        -0.0008548325975389692, 0.00012055294904839707, -1.492473690741966e-05, 1.6447424703317362e-06,
        -1.6208483801871705e-07, 1.3720064546777686e-08, -7.795898827002142e-10,
    ],
}  # fmt: skip

# (1 + 2y) e^(y²) erfc(y) in powers of (y - 3) / (y + 3), as in Shepherd & Laframboise 1981, for 0 <= y <= ERFC_END
ERFC_END = {4: 10.5, 8: 27.5}  # where e^(-y²) has come to 0
ERFC = {
    4: [
        1.2530080581370375, -0.13562114905995368, -0.047562318168041816, 0.12964671485294685, -0.11927191933722657,
        0.06829302905525306, -0.02379466453419944, 0.002576856516801767, 0.0020017712255442632,
        -0.0007881207530374105, -0.00027359599926303436,
    ],
    8: [
        1.2530080582697298, -0.1356211061245776, -0.047562294353498236, 0.12964515870238724, -0.11927366341302821,
        0.0683080273557003, -0.02377051496038776, 0.002529391644067411, 0.0018886907375576542, -0.0007798308620846871,
        -0.00010516168785438362, 0.00012509230791407156, 4.954747708746204e-06, -2.0078241327217527e-05,
        -7.386674922528873e-07, 3.4271934753227756e-06, 3.569963081800414e-07, -5.596234528971796e-07,
        -1.2798568817150776e-07, 6.044514638922592e-08, 2.395323859582461e-08, 8.393454946730519e-10,
    ],
}  # fmt: skip

TWO_OVER_PI = 0.6366197723675814
HALF_PI = {  # in parts of 33 bits, whose products with n < 2^17 are exact, and the remainder; float32 by float64
    4: [1.5707963267341256, 6.077100506506192e-11],
    8: [1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32],
}
REDUCED_END = 1e5

# (sin(r) / r - 1) / r² and (cos(r) - 1 + r²/2) / r⁴ in powers of r², |r| <= π/4: Cephes sinf, cosf; FDLIBM
SIN_TAIL = {
    4: [-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4],
    8: [
        -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
        2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10,
    ],
}  # fmt: skip
COS_TAIL = {
    4: [4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5],
    8: [
        4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
        -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11,
    ],
}  # fmt: skip


def polynomial(x, coefficients):
    """Σ_i c_i x^i by Horner's rule, the lowest coefficient first."""
    *lower, highest = coefficients
    value = x.constant(highest)
    for coefficient in reversed(lower):
        value = multiply_add(value, x, coefficient)
    return value


def monic(x, coefficients):
    """Σ_i c_i x^i + x^m of m coefficients, the lowest first."""
    *lower, highest = coefficients
    value = x + highest
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


def powers_of_two(n):
    """Two factors of 2^n, neither of which overflows or comes to 0 where the product does not."""
    half = n >> 1
    return power_of_two(half), power_of_two(n - half)


def exp(x):
    """e^x; subnormal below, inf above the range."""
    low, high = EXP_LOW[x.size], EXP_HIGH[x.size]
    x = select(x < low, low, x)
    x = select(x > high, high, x)
    n, r, tail = reduced(x)
    first, second = powers_of_two(n)
    return (1.0 + (r + tail)) * first * second


def clipped(x, limit):
    """x between -limit and limit; NaN stays NaN."""
    x = select(x > limit, limit, x)
    return select(x < -limit, -limit, x)


def own_if_tiny(x, y):
    """y, and x itself where it is 0 or subnormal: for functions with f(x) = x there, the sign included."""
    return select(absolute(x) < SMALLEST_NORMAL[x.size], x, y)


def expm1(x):
    """e^x - 1, also near 0; inf above the range."""
    low, high = -64.0, EXP_HIGH[x.size]
    n, r, tail = reduced(select(x < low, low, select(x > high, high, x)))
    half = power_of_two(n - 1)  # 2^n may overflow where the result does not
    return own_if_tiny(x, 2.0 * multiply_add(half, r + tail, half - 0.5))


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


def log1p_bounded(u):
    """log(1 + u) for 0 <= u <= 1, also near 0."""
    w = 1.0 + u
    return log(w) + (u - (w - 1.0)) / w


def log1p(u):
    """log(1 + u), also near 0; -inf at -1, NaN below."""
    w = 1.0 + u
    y = log(w)
    y = select(w > 0.0, y + (u - (w - 1.0)) / w, y)
    return own_if_tiny(u, select(u == math.inf, u, y))


def exponential_quotient(y, *ln2):
    """(n, p, q) with y = n ln(2) / 2 + z, n integers, |z| <= ln(2) / 4, tanh z = p / q: e^2y = 2^n (q + p) / (q - p).

    ln2: its parts, in the order in which they are subtracted.
    """
    size, z = y.size, y
    shifted = multiply_add(y, 2.0 * LOG2_E, ROUND[size])
    for part in ln2:
        z = multiply_add(shifted - ROUND[size], -0.5 * part, z)  # -0 stays -0
    square = z * z
    return (
        bits(shifted) - ROUND_BITS[size],
        z * monic(square, TANH_P[size]),
        polynomial(square, TANH_Q[size]),
    )


def tanh(x):
    """Hyperbolic tangent: (t - 1) / (t + 1), t = e^2x."""
    # ln(2) in one part: what it lacks does not show where n is large
    n, p, q = exponential_quotient(clipped(x, TANH_END[x.size]), math.log(2.0))
    power = power_of_two(n)
    lacking = 1.0 - power  # 0 near x = 0, where nothing may be lost: not -0, for the sign of tanh(-0)
    return multiply_add(-lacking, q, (1.0 + power) * p) / multiply_add(power, q + p, q - p)


def sigmoid(x):
    """1 / (1 + e^-x) = e^x / (e^x + 1), without overflow; subnormal below the range."""
    size, low, high = x.size, EXP_LOW[x.size], 2.0 * TANH_END[x.size]
    x = select(x < low, low, select(x > high, high, x))
    n, p, q = exponential_quotient(0.5 * x, LN2_HIGH[size], LN2_LOW[size])
    first, second = powers_of_two(n)
    grown = first * (q + p)
    return grown / multiply_add(grown, second, q - p) * second


def softplus(x):
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    return select(x < 0.0, 0.0, x) + log1p_bounded(exp(-absolute(x)))


def erfc_of_size(y):
    """erfc(y) = e^(-y²) P(t) / (1 + 2y) with t = (y - 3) / (y + 3), for y >= 0."""
    end = ERFC_END[y.size]
    y = select(y > end, end, y)
    return exp(-(y * y)) * polynomial((y - 3.0) / (y + 3.0), ERFC[y.size]) / multiply_add(y, 2.0, 1.0)


def erf(x):
    """2 / √π ∫ e^(-t²) dt from 0 to x: x P(x²) up to 1, ±(1 - erfc |x|) beyond."""
    y = absolute(x)
    beyond = from_bits(bits(1.0 - erfc_of_size(y)) | (bits(x) & SIGN[x.size]))
    return select(y > 1.0, beyond, x * polynomial(x * x, ERF[x.size]))


def quarter_turns(x):
    """(n, r + low) with x = n π/2 + r + low, |r| <= π/4, n integers: Cody & Waite's reduction, |x| <= REDUCED_END."""
    wide = widened(x)
    shifted = multiply_add(wide, TWO_OVER_PI, ROUND[8])
    n, low = shifted - ROUND[8], wide.constant(0.0)
    *parts, last = HALF_PI[x.size]
    for part in parts:
        rest = wide - n * part
        wide, low = rest, low + ((wide - rest) - n * part)
    low = low - n * last
    r = wide + low
    return bits(shifted) - ROUND_BITS[8], narrowed(r, x), narrowed((wide - r) + low, x)


def sine(x, quarters):
    """sin(x + quarters π/2) for |x| <= REDUCED_END."""
    n, r, low = quarter_turns(x)
    n, square = n + quarters, r * r
    sin_r = r + multiply_add(r * square, polynomial(square, SIN_TAIL[x.size]), low)
    tail = multiply_add(square * square, polynomial(square, COS_TAIL[x.size]), -(r * low))
    half = 0.5 * square
    cos_r = 1.0 - half  # what its rounding loses comes back with the tail
    cos_r = cos_r + (((1.0 - cos_r) - half) + tail)
    y = select((n & 1) == 1, cos_r, sin_r)
    return select((n & 2) == 2, -y, y)


def sin(x):
    """Sine; beyond REDUCED_END the C library's, lane by lane."""
    y = own_if_tiny(x, sine(x, 0))
    return rarely(absolute(x) > REDUCED_END, y, lambda: x.call("sin"))


def cos(x):
    """Cosine; beyond REDUCED_END the C library's, lane by lane."""
    return rarely(absolute(x) > REDUCED_END, sine(x, 1), lambda: x.call("cos"))
