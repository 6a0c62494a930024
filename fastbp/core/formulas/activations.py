"""Elementwise activations: σ, σ', σ'' and σ''' side by side, one table. Formulas on Lanes, see ir/traced.py.

A row writes its derivatives through z and a = σ(z); where they read only a, z need not be kept. All are stable in both
tails: what decays is computed as what decays, not as 1 minus something, and nothing infinite meets a 0.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from fastbp.core.formulas.elementary import clipped, cos, erfc_of_size, exp, expm1, sigmoid, sin, softplus, tanh
from fastbp.core.ir.traced import absolute, select

FAR = 1000.0
"""Beyond it e^-|z| is 0 in both dtypes: a z that is to be multiplied by what decays need not be larger."""


class Activation(NamedTuple):
    """A row of the table: σ(z), σ'(z, a), σ''(z, a), σ'''(z, a); whether the derivatives read z; whether σ is short, so
    that a sum goes through it before it is stored, and whether σ' is.
    """

    value: Callable
    derivative: Callable
    second: Callable
    third: Callable
    reads_z: bool = False
    short: bool = False
    short_derivative: bool = False


def zero(z, a):
    return a.constant(0.0)


def identity(z):
    return z


def identity_derivative(z, a):
    return a.constant(1.0)


def sigmoid_derivative(z, a):
    return a * (1.0 - a)


def sigmoid_second(z, a):
    return a * (1.0 - a) * (1.0 - 2.0 * a)


def sigmoid_third(z, a):
    slope = a * (1.0 - a)
    return slope * (1.0 - 6.0 * slope)


def tanh_derivative(z, a):
    return 1.0 - a * a


def tanh_second(z, a):
    return -2.0 * a * (1.0 - a * a)


def tanh_third(z, a):
    return -2.0 * (1.0 - a * a) * (1.0 - 3.0 * (a * a))


# --- pieces that meet at 0 ------------------------------------------------------------------------------------------


def relu(z):
    """max(z, 0); NaN stays NaN"""
    return select(z < 0.0, 0.0, z)


def relu_derivative(z, a):
    return select(a > 0.0, a.constant(1.0), 0.0)


LEAK = 0.01


def leaky_relu(z):
    """z, and z / 100 below 0: Maas, Hannun & Ng 2013"""
    return select(z < 0.0, LEAK * z, z)


def leaky_relu_derivative(z, a):
    return select(a > 0.0, a.constant(1.0), LEAK)


def elu(z):
    """z, and e^z - 1 below 0: Clevert, Unterthiner & Hochreiter 2016, α = 1"""
    return select(z < 0.0, expm1(z), z)


def elu_derivative(z, a):
    return select(a < 0.0, a + 1.0, 1.0)


def elu_second(z, a):
    return select(a < 0.0, a + 1.0, 0.0)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def selu(z):
    """λ z, and λ α (e^z - 1) below 0: Klambauer et al. 2017, equation 2"""
    return SELU_SCALE * select(z < 0.0, SELU_ALPHA * expm1(z), z)


def selu_derivative(z, a):
    return select(a < 0.0, a + SELU_SCALE * SELU_ALPHA, SELU_SCALE)


def selu_second(z, a):
    return select(a < 0.0, a + SELU_SCALE * SELU_ALPHA, 0.0)


def hard_sigmoid(z):
    """z / 6 + 1/2 between 0 and 1, as in PyTorch and Keras 3"""
    a = z * (1 / 6) + 0.5
    return select(a < 0.0, 0.0, select(a > 1.0, 1.0, a))


def hard_sigmoid_derivative(z, a):
    return select(a > 0.0, select(a < 1.0, a.constant(1 / 6), 0.0), 0.0)


# --- z times what rises from 0 to 1 -----------------------------------------------------------------------------------


def rising(z):
    """z, no lower than -FAR."""
    return select(z < -FAR, -FAR, z)


def normal(z):
    """(Φ(z), φ(z)): distribution and density of the standard normal distribution."""
    tail = 0.5 * erfc_of_size(absolute(z) * math.sqrt(0.5))
    return select(z < 0.0, tail, 1.0 - tail), exp(-0.5 * (z * z)) * (1 / math.sqrt(2 * math.pi))


def gelu(z):
    """z Φ(z): Hendrycks & Gimpel 2016"""
    return rising(z) * normal(z)[0]


def gelu_derivative(z, a):
    below, density = normal(z)
    return below + clipped(z, FAR) * density


def gelu_second(z, a):
    z = clipped(z, FAR)
    return (2.0 - z * z) * normal(z)[1]


def gelu_third(z, a):
    z = clipped(z, FAR)
    return z * (z * z - 4.0) * normal(z)[1]


CUBIC = 0.044715
TWICE = 2 * math.sqrt(2 / math.pi)


def gelu_tanh(z):
    """½ z (1 + tanh u) = z σ(2u), u = √(2/π) (z + 0.044715 z³): Hendrycks & Gimpel 2016, σ being the sigmoid"""
    return rising(z) * sigmoid(TWICE * z * (1.0 + CUBIC * (z * z)))


def gelu_tanh_slopes(z):
    """z, s = σ(v) and v' with v = 2u; s' = s (1 - s) v'"""
    z = clipped(z, FAR)
    v = TWICE * z * (1.0 + CUBIC * (z * z))
    s, v_z = sigmoid(v), TWICE * (1.0 + 3.0 * CUBIC * (z * z))
    return z, s, sigmoid(-v), v_z


def gelu_tanh_derivative(z, a):
    z, s, t, v_z = gelu_tanh_slopes(z)
    return s + z * (s * t * v_z)


def gelu_tanh_second(z, a):
    z, s, t, v_z = gelu_tanh_slopes(z)
    return s * t * (2.0 * v_z + z * ((t - s) * v_z * v_z + 6.0 * CUBIC * TWICE * z))


def gelu_tanh_third(z, a):
    """3 s'' + z s'''"""
    z, s, t, v_z = gelu_tanh_slopes(z)
    v_zzz, tilt = 6.0 * CUBIC * TWICE, (t - s) * v_z
    v_zz = v_zzz * z
    of_second, of_third = tilt * v_z + v_zz, (1.0 - 6.0 * (s * t)) * v_z * v_z * v_z + 3.0 * tilt * v_zz + v_zzz
    return s * t * (3.0 * of_second + z * of_third)


def silu(z):
    """z σ(z), σ being the sigmoid: Elfwing, Uchibe & Doya 2018; swish of Ramachandran, Zoph & Le 2017"""
    return rising(z) * sigmoid(z)


def silu_derivative(z, a):
    z = clipped(z, FAR)
    return sigmoid(z) * (1.0 + z * sigmoid(-z))


def silu_second(z, a):
    z = clipped(z, FAR)
    s, t = sigmoid(z), sigmoid(-z)
    return s * t * (2.0 + z * (t - s))


def silu_third(z, a):
    z = clipped(z, FAR)
    s, t = sigmoid(z), sigmoid(-z)
    return s * t * (3.0 * (t - s) + z * (1.0 - 6.0 * (s * t)))


def tanh_of_softplus(z):
    """t = tanh(log(1 + e^z)) = (e² + 2e) / (e² + 2e + 2), e = e^z; and 1 - t²; by e^-|z|, without overflow"""
    q, negative = exp(-absolute(z)), z < 0.0
    square = q * q
    rest = 2.0 * select(negative, 1.0, square)
    part = 2.0 * q + select(negative, square, 1.0)
    whole = part + rest
    t = part / whole
    return t, rest / whole * (1.0 + t)


def mish(z):
    """z tanh(softplus(z)): Misra 2020"""
    return rising(z) * tanh_of_softplus(z)[0]


def mish_derivative(z, a):
    z = clipped(z, FAR)
    t, slope = tanh_of_softplus(z)
    return t + z * (slope * sigmoid(z))


def mish_second(z, a):
    z = clipped(z, FAR)
    (t, slope), s = tanh_of_softplus(z), sigmoid(z)
    return slope * s * (2.0 + z * (sigmoid(-z) - 2.0 * t * s))


def mish_third(z, a):
    z = clipped(z, FAR)
    (t, slope), s, s_low = tanh_of_softplus(z), sigmoid(z), sigmoid(-z)
    r = s_low - 2.0 * t * s
    return slope * s * (3.0 * r + z * (r * r - s * s_low - 2.0 * s * (slope * s + t * s_low)))


# --- exponentials and waves -----------------------------------------------------------------------------------------


def softplus_derivative(z, a):
    """σ(z) = 1 - e^-a"""
    return -expm1(-a)


def softplus_second(z, a):
    return -expm1(-a) * exp(-a)


def softplus_third(z, a):
    s, t = -expm1(-a), exp(-a)
    return s * t * (t - s)


def sin_derivative(z, a):
    return cos(z)


def sin_second(z, a):
    return -a


def sin_third(z, a):
    return -cos(z)


def gaussian(z):
    """e^(-z²)"""
    return exp(-(z * z))


def gaussian_derivative(z, a):
    return -2.0 * clipped(z, FAR) * a


def gaussian_second(z, a):
    z = clipped(z, FAR)
    return (4.0 * (z * z) - 2.0) * a


def gaussian_third(z, a):
    z = clipped(z, FAR)
    return z * (12.0 - 8.0 * (z * z)) * a


def exponential(z):
    """e^z, as in Poisson regression"""
    return exp(z)


def exponential_derivative(z, a):
    return a


ACTIVATIONS = {
    "identity": Activation(identity, identity_derivative, zero, zero),
    "sigmoid": Activation(sigmoid, sigmoid_derivative, sigmoid_second, sigmoid_third, short_derivative=True),
    "tanh": Activation(tanh, tanh_derivative, tanh_second, tanh_third, short_derivative=True),
    "relu": Activation(relu, relu_derivative, zero, zero, short=True, short_derivative=True),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative, zero, zero, short=True, short_derivative=True),
    "elu": Activation(elu, elu_derivative, elu_second, elu_second, short_derivative=True),
    "selu": Activation(selu, selu_derivative, selu_second, selu_second, short_derivative=True),
    "gelu": Activation(gelu, gelu_derivative, gelu_second, gelu_third, reads_z=True),
    "gelu_tanh": Activation(gelu_tanh, gelu_tanh_derivative, gelu_tanh_second, gelu_tanh_third, reads_z=True),
    "silu": Activation(silu, silu_derivative, silu_second, silu_third, reads_z=True),
    "mish": Activation(mish, mish_derivative, mish_second, mish_third, reads_z=True),
    "softplus": Activation(softplus, softplus_derivative, softplus_second, softplus_third),
    "hard_sigmoid": Activation(hard_sigmoid, hard_sigmoid_derivative, zero, zero, short=True, short_derivative=True),
    "sin": Activation(sin, sin_derivative, sin_second, sin_third, reads_z=True),
    "gaussian": Activation(gaussian, gaussian_derivative, gaussian_second, gaussian_third, reads_z=True),
    "exponential": Activation(
        exponential, exponential_derivative, exponential_derivative, exponential_derivative, short_derivative=True
    ),
}
"""Elementwise activations, for any layer."""
