"""Update rules: m, v ← …, then θ ← θ - step(w, g, m, v), one row each; step/update.py makes their kernels."""

from collections.abc import Callable
from typing import NamedTuple

from fastbp.core.ir.kernel import inline
from fastbp.core.ir.traced import maximum, select, sqrt


class Rule(NamedTuple):
    """A row of the table: how many moments; coefficients(settings) -> floats; step(w, g, m, v, c) -> m, v, step.

    settings: the optimizer's numbers for this update, first the learning rate. w is theta, and 0 for biases.
    """

    moments: int
    coefficients: Callable
    step: Callable


@inline
def sgd_coefficients(settings):
    """lr"""
    return (settings[0],)


def sgd_step(w, g, m, v, c):
    """lr g"""
    return m, v, c[0] * g


@inline
def momentum_coefficients(settings):
    """lr, μ, and the weights of g and m in the step: (1, μ) with Nesterov's, (0, 1) without"""
    nesterov = settings[2]
    return settings[0], settings[1], nesterov, nesterov * settings[1] + (1.0 - nesterov)


def momentum_step(w, g, m, v, c):
    """m ← μ m + g; lr m, with Nesterov's lr (g + μ m)  (Sutskever et al., ICML 2013)"""
    m = c[1] * m + g
    return m, v, c[0] * (c[2] * g + c[3] * m)


@inline
def adam_coefficients(settings):
    """lr / (1 - β1^t), β1, 1 - β1, β2, 1 - β2, 1 / (1 - β2^t), ε"""
    lr, beta_1, beta_2, epsilon = settings[0], settings[1], settings[2], settings[3]
    return lr / settings[4], beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, 1.0 / settings[5], epsilon


def adam_step(w, g, m, v, c):
    """m ← β1 m + (1 - β1) g; v ← β2 v + (1 - β2) g²; lr m̂ / (√v̂ + ε)  (Kingma and Ba, ICLR 2015)"""
    m = c[1] * m + c[2] * g
    v = c[3] * v + c[4] * (g * g)
    return m, v, c[0] * m / (sqrt(c[5] * v) + c[6])


@inline
def adamw_coefficients(settings):
    """Adam's, and lr λ"""
    return *adam_coefficients(settings), settings[0] * settings[6]


def adamw_step(w, g, m, v, c):
    """Adam's, and lr λ w  (Loshchilov and Hutter, ICLR 2019)"""
    m, v, step = adam_step(w, g, m, v, c)
    return m, v, step + c[7] * w


@inline
def nadam_coefficients(settings):
    """The weights of g and m in the step, β1, 1 - β1, β2, 1 - β2, 1 / (1 - β2^t), ε"""
    lr, (_, beta_1, other_1, beta_2, other_2, correction, epsilon) = settings[0], adam_coefficients(settings)
    return lr * settings[6], lr * settings[7], beta_1, other_1, beta_2, other_2, correction, epsilon


def nadam_step(w, g, m, v, c):
    """m, v as Adam's; lr [(1 - μ_t) g / (1 - Π_t) + μ_{t+1} m / (1 - Π_{t+1})] / (√v̂ + ε)  (Dozat, ICLR 2016)"""
    m = c[2] * m + c[3] * g
    v = c[4] * v + c[5] * (g * g)
    return m, v, (c[0] * g + c[1] * m) / (sqrt(c[6] * v) + c[7])


@inline
def rmsprop_coefficients(settings):
    """lr, ρ, 1 - ρ, ε"""
    return settings[0], settings[1], 1.0 - settings[1], settings[2]


def rmsprop_step(w, g, m, v, c):
    """m ← ρ m + (1 - ρ) g²; lr g / (√m + ε)  (Tieleman and Hinton, 2012)"""
    m = c[1] * m + c[2] * (g * g)
    return m, v, c[0] * g / (sqrt(m) + c[3])


@inline
def adagrad_coefficients(settings):
    """lr, ε"""
    return settings[0], settings[1]


def adagrad_step(w, g, m, v, c):
    """m ← m + g²; lr g / (√m + ε)  (Duchi, Hazan and Singer, JMLR 2011)"""
    m = m + g * g
    return m, v, c[0] * g / (sqrt(m) + c[1])


@inline
def rprop_coefficients(settings):
    """What Δ begins with (0 after the first update), η-, η+, Δmin, Δmax"""
    return settings[0] * settings[5], settings[1], settings[2], settings[3], settings[4]


def rprop_step(w, g, m, v, c):
    """v = Δ grows while g keeps the sign of m, the g before, and shrinks when it changes, then g ← 0; Δ sign(g)
    (iRprop-: Riedmiller and Braun, ICNN 1993, as improved by Igel and Hüsken, 2000)
    """
    rises, falls, zero = g > 0.0, g < 0.0, 0.0 * g  # NaN where g is not finite
    same, opposed = (rises & (m > 0.0)) | (falls & (m < 0.0)), (rises & (m < 0.0)) | (falls & (m > 0.0))
    v = v + c[0]
    grown, shrunk = c[2] * v, maximum(c[1] * v, c[3])
    v = select(same, select(grown < c[4], grown, c[4]), select(opposed, shrunk, v))
    g = select(opposed, 0.0, g)
    return g, v, select(g > 0.0, v, select(g < 0.0, -v, 0.0)) + zero


RULES = {
    "sgd": Rule(0, sgd_coefficients, sgd_step),
    "momentum": Rule(1, momentum_coefficients, momentum_step),
    "adam": Rule(2, adam_coefficients, adam_step),
    "adamw": Rule(2, adamw_coefficients, adamw_step),
    "nadam": Rule(2, nadam_coefficients, nadam_step),
    "rmsprop": Rule(1, rmsprop_coefficients, rmsprop_step),
    "adagrad": Rule(1, adagrad_coefficients, adagrad_step),
    "rprop": Rule(2, rprop_coefficients, rprop_step),
}
