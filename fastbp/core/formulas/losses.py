"""Losses: value, first and second derivative side by side, one table; layers/loss.py makes their kernels.

    C_n = Σ_j c(a_j, y_j)        d_j = ∂C_n/∂a_j, or ∂C_n/∂z_j from a stable form in z with a loss's own output

With other outputs than its own, a loss is its formula in a as it stands: a logarithm of an a_j <= 0 is then infinite or
NaN where y_j is not 0. Constants that depend on y alone are left out (log y! of poisson, ½ log 2π of gaussian_nll), but
for kullback_leibler, which is 0 where a = y. At a kink the derivative is 0.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from fastbp.core.formulas.elementary import exp, expm1, log, log1p_bounded, sigmoid, tanh
from fastbp.core.ir.traced import absolute, select


class Loss(NamedTuple):
    """A row of the table: c(a, y), ∂c/∂a, ∂²c/∂a², with the loss's parameters behind, as numbers.

    own_output: the output with which it has a stable form in z. fused: value and derivative of that form where it is a
    sum over the outputs; None where it is not, as with softmax. outputs: a_j for each number in y.
    """

    value: Callable
    derivative: Callable
    second: Callable
    own_output: str | None = None
    fused: tuple[Callable, Callable] | None = None
    outputs: int = 1


def y_log_y(y):
    """y log y, and 0 where y = 0"""
    return select(y == 0.0, 0.0, y * log(y))


def squared_error(a, y):
    return (a - y) * (a - y)


def squared_error_derivative(a, y):
    return 2.0 * (a - y)


def squared_error_second(a, y):
    return a.constant(2.0)


def half_squared_error(a, y):
    return 0.5 * ((a - y) * (a - y))


def half_squared_error_derivative(a, y):
    return a - y


def half_squared_error_second(a, y):
    return a.constant(1.0)


def cross_entropy(a, y):
    """-y log a, and 0 where y = 0 whatever a is"""
    return select(y == 0.0, 0.0, -y * log(a))


def cross_entropy_derivative(a, y):
    return select(y == 0.0, 0.0, -y / a)


def cross_entropy_second(a, y):
    return select(y == 0.0, 0.0, y / (a * a))


def binary_cross_entropy(a, y):
    """-y log a - (1 - y) log(1 - a)"""
    return cross_entropy(a, y) + cross_entropy(1.0 - a, 1.0 - y)


def binary_cross_entropy_derivative(a, y):
    return cross_entropy_derivative(a, y) - cross_entropy_derivative(1.0 - a, 1.0 - y)


def binary_cross_entropy_second(a, y):
    return cross_entropy_second(a, y) + cross_entropy_second(1.0 - a, 1.0 - y)


def sigmoid_cross_entropy(z, y):
    """max(z, 0) - y z + log(1 + e^-|z|): the binary cross-entropy of a = sigmoid(z)"""
    return select(z < 0.0, 0.0, z) - y * z + log1p_bounded(exp(-absolute(z)))


def sigmoid_cross_entropy_derivative(z, y):
    return sigmoid(z) - y


def kullback_leibler(a, y):
    """y log(y / a), and 0 where y = 0 whatever a is"""
    return cross_entropy(a, y) + y_log_y(y)


def poisson(a, y):
    """a - y log a: of a Poisson distribution with the mean a, but for log y!"""
    return a + cross_entropy(a, y)


def poisson_derivative(a, y):
    return 1.0 + cross_entropy_derivative(a, y)


def exponential_poisson(z, y):
    """e^z - y z: of a = e^z"""
    return exp(z) - y * z


def exponential_poisson_derivative(z, y):
    return exp(z) - y


def absolute_error(a, y):
    return absolute(a - y)


def absolute_error_derivative(a, y):
    """-1, 0 or 1"""
    return select(a > y, a.constant(1.0), select(a < y, a.constant(-1.0), 0.0))


def absolute_error_second(a, y):
    return a.constant(0.0)


def quantile(a, y, q):
    """q (y - a) above a, (1 - q) (a - y) below (Koenker and Bassett, Econometrica 1978)"""
    return select(a > y, (1.0 - q) * (a - y), q * (y - a))


def quantile_derivative(a, y, q):
    return select(a > y, a.constant(1.0 - q), select(a < y, a.constant(-q), 0.0))


def quantile_second(a, y, q):
    return a.constant(0.0)


def huber(a, y, delta):
    """½ e² for e = |a - y| <= δ, δ (e - ½ δ) beyond (Huber, Annals of Mathematical Statistics 1964)"""
    e = absolute(a - y)
    return select(e > delta, delta * (e - 0.5 * delta), 0.5 * (e * e))


def huber_derivative(a, y, delta):
    """a - y, within -δ and δ"""
    e = a - y
    return select(e > delta, delta, select(e < -delta, -delta, e))


def huber_second(a, y, delta):
    return select(absolute(a - y) > delta, 0.0, a.constant(1.0))


def log_cosh(a, y):
    """log cosh(a - y) = e - log 2 + log(1 + e^-2e) of e = |a - y|; near 0, log(1 + (e^e - 1)² / 2e^e)"""
    e = absolute(a - y)
    u = expm1(e)
    return select(e < 1.0, log1p_bounded(u * u / (2.0 + 2.0 * u)), e + (log1p_bounded(exp(-2.0 * e)) - math.log(2.0)))


def log_cosh_derivative(a, y):
    return tanh(a - y)


def log_cosh_second(a, y):
    t = tanh(a - y)
    return 1.0 - t * t


def hinge(a, y):
    """max(0, 1 - y a) for y = -1 or 1 (Cortes and Vapnik, Machine Learning 1995); NaN stays NaN"""
    margin = 1.0 - y * a
    return select(margin < 0.0, 0.0, margin)


def hinge_derivative(a, y):
    return select(y * a < 1.0, -y, 0.0)


def hinge_second(a, y):
    return a.constant(0.0)


def scaled(e, s):
    """e exp(-s / 2), and 0 where e = 0 whatever s is: its square does not overflow where e² e^-s does not"""
    return select(e == 0.0, 0.0, e * exp(-0.5 * s))


def gaussian_nll(m, s, y):
    """½ (s + (y - m)² e^-s): of a normal distribution with mean m and log variance s, but for ½ log 2π"""
    e = scaled(m - y, s)
    return 0.5 * (s + e * e)


def gaussian_nll_derivative(m, s, y):
    """∂c/∂m, ∂c/∂s"""
    e = scaled(m - y, s)
    return scaled(e, s), 0.5 * (1.0 - e * e)


def gaussian_nll_second(m, s, y):
    """∂²c/∂m², ∂²c/∂m∂s, ∂²c/∂s²"""
    e = scaled(m - y, s)
    return exp(-s), -scaled(e, s), 0.5 * (e * e)


LOSSES = {
    "squared_error": Loss(squared_error, squared_error_derivative, squared_error_second),
    "half_squared_error": Loss(half_squared_error, half_squared_error_derivative, half_squared_error_second),
    "cross_entropy": Loss(cross_entropy, cross_entropy_derivative, cross_entropy_second, "softmax"),
    "binary_cross_entropy": Loss(
        binary_cross_entropy,
        binary_cross_entropy_derivative,
        binary_cross_entropy_second,
        "sigmoid",
        (sigmoid_cross_entropy, sigmoid_cross_entropy_derivative),
    ),
    "kullback_leibler": Loss(kullback_leibler, cross_entropy_derivative, cross_entropy_second, "softmax"),
    "poisson": Loss(
        poisson,
        poisson_derivative,
        cross_entropy_second,
        "exponential",
        (exponential_poisson, exponential_poisson_derivative),
    ),
    "absolute_error": Loss(absolute_error, absolute_error_derivative, absolute_error_second),
    "quantile": Loss(quantile, quantile_derivative, quantile_second),
    "huber": Loss(huber, huber_derivative, huber_second),
    "log_cosh": Loss(log_cosh, log_cosh_derivative, log_cosh_second),
    "hinge": Loss(hinge, hinge_derivative, hinge_second),
    "gaussian_nll": Loss(gaussian_nll, gaussian_nll_derivative, gaussian_nll_second, outputs=2),
}

OWN_OUTPUT = {name: row.own_output for name, row in LOSSES.items() if row.own_output}
"""The output with which a loss has a fused, stable form."""
