"""A slow twin of fastbp: the same mathematics in plain NumPy and float64, sharing no code with the library.

    z_j = Σ_k w_jk a_k + b_j        a_j = σ(z_j)                 forward
    dz_j = σ'(z_j) da_j             da_k = Σ_j w_jk dz_j         backward, d. = ∂C/∂.
    dw_jk = Σ_n a_k dz_j            db_j = Σ_n dz_j

with n the example, k a layer's input, j its output, and C = Σ_n w_n C_n / Σ_n w_n (or Σ_n w_n C_n) the cost.
Theta and its gradient are flat: w(1), b(1), …, w(L), b(L); w_jk is element k * n_out + j of its block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Net:
    """What the twin needs to know: sizes, the activation of every layer, the loss, the reduction and the penalties."""

    sizes: tuple
    hidden: str | tuple = "relu"
    output: str = "identity"
    loss: str = "squared_error"
    bias: bool = True
    reduction: str = "mean"
    l1: float = 0.0
    l2: float = 0.0

    @property
    def activations(self):
        """The name of each layer's activation."""
        n_hidden = len(self.sizes) - 2
        hidden = (self.hidden,) * n_hidden if isinstance(self.hidden, str) else tuple(self.hidden)
        assert len(hidden) == n_hidden
        return (*hidden, self.output)


# Activations: a = σ(z), σ'(z), σ''(z), σ'''(z). For softmax these are whole tensors: ∂a_j/∂z_i and ∂²a_j/∂z_i∂z_k.


class Activation(NamedTuple):
    value: Callable
    first: Callable
    second: Callable
    third: Callable | None = None  # not of softmax


def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _sigmoid_first(z):
    return sigmoid(z) * sigmoid(-z)


def _sigmoid_second(z):
    return sigmoid(z) * sigmoid(-z) * (1 - 2 * sigmoid(z))


def _sigmoid_third(z):
    return _sigmoid_first(z) * (1 - 6 * _sigmoid_first(z))


def _tanh_first(z):
    return 1 - np.tanh(z) ** 2


def _tanh_second(z):
    return -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)


def _tanh_third(z):
    return (6 * np.tanh(z) ** 2 - 2) / np.cosh(z) ** 2


def _softmax_first(z):
    a, same = softmax(z), np.eye(z.shape[1])
    return np.einsum("nj,ji->nji", a, same) - np.einsum("nj,ni->nji", a, a)


def _softmax_second(z):
    a, same, first = softmax(z), np.eye(z.shape[1]), _softmax_first(z)
    by_j = np.einsum("njk,ji->njik", first, same) - np.einsum("njk,ni->njik", first, a)
    return by_j - np.einsum("nj,nik->njik", a, first)


def elu(z, above=1.0, below=1.0):
    return above * np.maximum(z, 0) + below * np.expm1(np.minimum(z, 0))


def _elu_first(z, above=1.0, below=1.0):
    return np.where(z > 0, above, below * np.exp(np.minimum(z, 0)))


def _elu_second(z, below=1.0):
    return np.where(z > 0, 0.0, below * np.exp(np.minimum(z, 0)))


SELU = (1.0507009873554804934193349852946, 1.0507009873554804934193349852946 * 1.6732632423543772848170429916717)
normal_cdf = np.vectorize(lambda z: math.erfc(-z / math.sqrt(2)) / 2, otypes=[float])


def normal_density(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def _gate(z):
    """The argument of gelu_tanh's tanh, and its two derivatives."""
    c, k = np.sqrt(2 / np.pi), 0.044715
    return c * (z + k * z**3), c * (1 + 3 * k * z**2), c * 6 * k * z


def _gelu_tanh_first(z):
    u, u1, _ = _gate(z)
    return (1 + np.tanh(u)) / 2 + z / 2 * u1 / np.cosh(u) ** 2


def _gelu_tanh_second(z):
    u, u1, u2 = _gate(z)
    return (u1 + z / 2 * u2 - z * u1**2 * np.tanh(u)) / np.cosh(u) ** 2


def _gelu_tanh_third(z):
    (u, u1, u2), u3 = _gate(z), np.sqrt(2 / np.pi) * 6 * 0.044715
    t, t1 = np.tanh(u), 1 / np.cosh(u) ** 2
    of_second = t1 * (u2 - 2 * t * u1**2)
    of_third = t1 * (u3 - 6 * t * u1 * u2 + u1**3 * (4 * t**2 - 2 * t1))
    return (3 * of_second + z * of_third) / 2


def softplus(z):
    return np.logaddexp(0, z)


def _mish_first(z):
    t = np.tanh(softplus(z))
    return t + z * (1 - t**2) * sigmoid(z)


def _mish_second(z):
    t, s = np.tanh(softplus(z)), sigmoid(z)
    return (1 - t**2) * (2 * s + z * s * (1 - s) - 2 * z * t * s**2)


def _mish_third(z):
    t, s, u = np.tanh(softplus(z)), sigmoid(z), sigmoid(-z)
    of_slope = s * u - 2 * t * s**2  # (1 - t²) times this is the derivative of (1 - t²) s
    slope_of_it = s * u * (u - s) - 2 * (1 - t**2) * s**3 - 4 * t * s**2 * u
    return (1 - t**2) * (3 * of_slope + z * (slope_of_it - 2 * t * s * of_slope))


ACTIVATIONS = {
    "identity": Activation(lambda z: z.copy(), np.ones_like, np.zeros_like, np.zeros_like),
    "sigmoid": Activation(sigmoid, _sigmoid_first, _sigmoid_second, _sigmoid_third),
    "tanh": Activation(np.tanh, _tanh_first, _tanh_second, _tanh_third),
    "relu": Activation(
        lambda z: np.where(z > 0, z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0), np.zeros_like, np.zeros_like
    ),
    "leaky_relu": Activation(
        lambda z: np.where(z > 0, z, z / 100), lambda z: np.where(z > 0, 1.0, 1 / 100), np.zeros_like, np.zeros_like
    ),
    "elu": Activation(elu, _elu_first, _elu_second, _elu_second),
    "selu": Activation(
        lambda z: elu(z, *SELU),
        lambda z: _elu_first(z, *SELU),
        lambda z: _elu_second(z, SELU[1]),
        lambda z: _elu_second(z, SELU[1]),
    ),
    "gelu": Activation(
        lambda z: z * normal_cdf(z),
        lambda z: normal_cdf(z) + z * normal_density(z),
        lambda z: (2 - z**2) * normal_density(z),
        lambda z: (z**3 - 4 * z) * normal_density(z),
    ),
    "gelu_tanh": Activation(
        lambda z: z * (1 + np.tanh(_gate(z)[0])) / 2, _gelu_tanh_first, _gelu_tanh_second, _gelu_tanh_third
    ),
    "silu": Activation(
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) + z * _sigmoid_first(z),
        lambda z: 2 * _sigmoid_first(z) + z * _sigmoid_second(z),
        lambda z: 3 * _sigmoid_second(z) + z * _sigmoid_third(z),
    ),
    "mish": Activation(lambda z: z * np.tanh(softplus(z)), _mish_first, _mish_second, _mish_third),
    "softplus": Activation(softplus, sigmoid, _sigmoid_first, _sigmoid_second),
    "hard_sigmoid": Activation(
        lambda z: np.clip(z / 6 + 1 / 2, 0, 1),
        lambda z: np.where(np.abs(z) < 3, 1 / 6, 0.0),
        np.zeros_like,
        np.zeros_like,
    ),
    "sin": Activation(np.sin, np.cos, lambda z: -np.sin(z), lambda z: -np.cos(z)),
    "gaussian": Activation(
        lambda z: np.exp(-(z**2)),
        lambda z: -2 * z * np.exp(-(z**2)),
        lambda z: (4 * z**2 - 2) * np.exp(-(z**2)),
        lambda z: (12 * z - 8 * z**3) * np.exp(-(z**2)),
    ),
    "exponential": Activation(np.exp, np.exp, np.exp, np.exp),
    "softmax": Activation(softmax, _softmax_first, _softmax_second),
}


# Losses: C_n of each example, ∂C_n/∂a_j and ∂²C_n/∂a_j² (mixed second derivatives are zero but for gaussian_nll), and
# the a - y or the like at which they have kinks.


class Loss(NamedTuple):
    value: Callable
    delta: Callable
    second: Callable
    kinks: Callable = lambda a, y: np.full_like(a, np.inf)  # how far a is from the nearest one


def _y_log_a(y, a):
    """y log a with 0 log 0 = 0."""
    return np.where(y > 0, y * np.log(np.where(y > 0, a, 1.0)), 0.0)


def _ratio(y, a):
    """y / a with 0 / 0 = 0."""
    return np.where(y > 0, y / np.where(y > 0, a, 1.0), 0.0)


LOSSES = {
    "squared_error": Loss(
        lambda a, y: ((a - y) ** 2).sum(axis=1),
        lambda a, y: 2 * (a - y),
        lambda a, y: np.full_like(a, 2.0),
    ),
    "half_squared_error": Loss(
        lambda a, y: ((a - y) ** 2).sum(axis=1) / 2,
        lambda a, y: a - y,
        lambda a, y: np.ones_like(a),
    ),
    "cross_entropy": Loss(
        lambda a, y: -_y_log_a(y, a).sum(axis=1),
        lambda a, y: -_ratio(y, a),
        lambda a, y: _ratio(y, a**2),
    ),
    "binary_cross_entropy": Loss(
        lambda a, y: -(_y_log_a(y, a) + _y_log_a(1 - y, 1 - a)).sum(axis=1),
        lambda a, y: _ratio(1 - y, 1 - a) - _ratio(y, a),
        lambda a, y: _ratio(1 - y, (1 - a) ** 2) + _ratio(y, a**2),
    ),
    "kullback_leibler": Loss(
        lambda a, y: (_y_log_a(y, y) - _y_log_a(y, a)).sum(axis=1),
        lambda a, y: -_ratio(y, a),
        lambda a, y: _ratio(y, a**2),
    ),
    "poisson": Loss(
        lambda a, y: (a - _y_log_a(y, a)).sum(axis=1),
        lambda a, y: 1 - _ratio(y, a),
        lambda a, y: _ratio(y, a**2),
    ),
    "absolute_error": Loss(
        lambda a, y: np.abs(a - y).sum(axis=1),
        lambda a, y: np.sign(a - y),
        lambda a, y: np.zeros_like(a),
        lambda a, y: np.abs(a - y),
    ),
    "log_cosh": Loss(
        lambda a, y: (np.logaddexp(a - y, y - a) - np.log(2)).sum(axis=1),
        lambda a, y: np.tanh(a - y),
        lambda a, y: np.cosh(a - y) ** -2.0,
    ),
    "hinge": Loss(
        lambda a, y: np.maximum(0, 1 - y * a).sum(axis=1),
        lambda a, y: np.where(y * a < 1, -y, 0.0),
        lambda a, y: np.zeros_like(a),
        lambda a, y: np.abs(1 - y * a),
    ),
    "gaussian_nll": Loss(
        lambda a, y: ((y - _m(a)) ** 2 / np.exp(_s(a)) + _s(a)).sum(axis=1) / 2,
        lambda a, y: np.hstack([(_m(a) - y) / np.exp(_s(a)), (1 - (y - _m(a)) ** 2 / np.exp(_s(a))) / 2]),
        lambda a, y: np.hstack([1 / np.exp(_s(a)), (y - _m(a)) ** 2 / np.exp(_s(a)) / 2]),
    ),
}


def _m(a):
    """The means: the first half of the outputs."""
    return a[:, : a.shape[1] // 2]


def _s(a):
    """The log variances: the second half."""
    return a[:, a.shape[1] // 2 :]


def huber(delta):
    return Loss(
        lambda a, y: (
            (np.minimum(np.abs(a - y), delta) * (2 * np.abs(a - y) - np.minimum(np.abs(a - y), delta))).sum(axis=1) / 2
        ),
        lambda a, y: np.clip(a - y, -delta, delta),
        lambda a, y: np.where(np.abs(a - y) < delta, 1.0, 0.0),
        lambda a, y: np.abs(np.abs(a - y) - delta),
    )


def quantile(q):
    return Loss(
        lambda a, y: np.maximum(q * (y - a), (q - 1) * (y - a)).sum(axis=1),
        lambda a, y: np.where(a < y, -q, 1 - q),
        lambda a, y: np.zeros_like(a),
        lambda a, y: np.abs(a - y),
    )


LOSSES |= {"huber": huber(1.0), "quantile": quantile(0.5), "huber(0.3)": huber(0.3), "quantile(0.8)": quantile(0.8)}

TAKES_LOG = ("cross_entropy", "binary_cross_entropy", "kullback_leibler", "poisson")


# Pairs of an output and a loss that are one stable function of z: C_n and ∂C_n/∂z.


def _log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


FUSED = {
    ("softmax", "cross_entropy"): (
        lambda z, y: -(y * _log_softmax(z)).sum(axis=1),
        lambda z, y: softmax(z) * y.sum(axis=1, keepdims=True) - y,
    ),
    ("softmax", "kullback_leibler"): (
        lambda z, y: (_y_log_a(y, y) - y * _log_softmax(z)).sum(axis=1),
        lambda z, y: softmax(z) * y.sum(axis=1, keepdims=True) - y,
    ),
    ("sigmoid", "binary_cross_entropy"): (
        lambda z, y: (np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))).sum(axis=1),
        lambda z, y: sigmoid(z) - y,
    ),
    ("exponential", "poisson"): (
        lambda z, y: (np.exp(z) - y * z).sum(axis=1),
        lambda z, y: np.exp(z) - y,
    ),
}


# Parameters: theta as layers and back.


def n_parameters(net):
    return sum(n_out * (n_in + net.bias) for n_in, n_out in pairwise(net.sizes))


def blocks(net, theta):
    """{"w(1)": flat block, "b(1)": flat block, …} in the order of theta."""
    found, start = {}, 0
    for layer, (n_in, n_out) in enumerate(pairwise(net.sizes), 1):
        for name, size in (("w", n_in * n_out), ("b", n_out * net.bias)):
            if size:
                found[f"{name}({layer})"] = theta[start : start + size]
            start += size
    assert start == len(theta)
    return found


def layers(net, theta):
    """One (w, b) per layer, w_jk of shape (n_out, n_in), b of shape (n_out,), zeros if the net has none."""
    found, pairs = blocks(net, np.asarray(theta, dtype=np.float64)), []
    for layer, (n_in, n_out) in enumerate(pairwise(net.sizes), 1):
        w = found[f"w({layer})"].reshape(n_in, n_out).T
        pairs.append((w, found.get(f"b({layer})", np.zeros(n_out))))
    return pairs


def is_weight(net):
    """True for the elements of theta that are weights, False for biases."""
    return flat(net, [(np.full((n_out, n_in), True), np.full(n_out, False)) for n_in, n_out in pairwise(net.sizes)])


def flat(net, pairs):
    """The inverse of layers()."""
    parts = []
    for w, b in pairs:
        parts += [w.T.ravel(), b] if net.bias else [w.T.ravel()]
    return np.concatenate(parts)


# Forward, cost, backward.


def targets(net, y):
    """y as rows of n_out numbers; integer classes become rows with a single one."""
    y = np.asarray(y)
    if net.loss == "cross_entropy" and y.ndim == 1:
        return np.eye(net.sizes[-1])[y.astype(int)]
    return y.reshape(len(y), columns(net)).astype(np.float64)


def columns(net):
    """Of y: one for each output, or for each pair of mean and log variance."""
    return net.sizes[-1] // 2 if net.loss == "gaussian_nll" else net.sizes[-1]


def forward(net, theta, X, factors=None):
    """(z, a): z holds L arrays (n, n_out), a holds L + 1 with a[0] = X.

    factors: of dropout, an array (n, n_out) for each hidden layer; a is then what the next layer reads.
    """
    z, a = [], [np.asarray(X, dtype=np.float64)]
    for layer, ((w, b), name) in enumerate(zip(layers(net, theta), net.activations, strict=True)):
        z.append(np.einsum("jk,nk->nj", w, a[-1]) + b)
        a.append(ACTIVATIONS[name].value(z[-1]))
        if factors is not None and layer < len(factors):
            a[-1] = a[-1] * factors[layer]
    return z, a


def predict(net, theta, X):
    return forward(net, theta, X)[1][-1]


def example_costs(net, z, y):
    """C_n of every example from the last layer's z; with its own output a loss is computed without log a."""
    y = targets(net, y)
    if (net.output, net.loss) in FUSED:
        return FUSED[net.output, net.loss][0](z, y)
    return LOSSES[net.loss].value(ACTIVATIONS[net.output].value(z), y)


def through(name, z, da):
    """dz_i = Σ_j da_j ∂a_j/∂z_i, which is σ'(z_i) da_i for all but softmax."""
    first = ACTIVATIONS[name].first(z)
    return np.einsum("nj,nji->ni", da, first) if name == "softmax" else first * da


def output_dz(net, z, a, y):
    """∂C_n/∂z of the last layer."""
    y = targets(net, y)
    if (net.output, net.loss) in FUSED:
        return FUSED[net.output, net.loss][1](z, y)
    return through(net.output, z, LOSSES[net.loss].delta(a, y))


def shares(net, rows, sample_weight=None):
    """What each C_n counts in the cost: w_n / Σ w_n, or w_n for reduction "sum"."""
    w = np.ones(rows) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    return w / w.sum() if net.reduction == "mean" else w


def cost(net, theta, X, y, sample_weight=None, factors=None):
    z, _ = forward(net, theta, X, factors)
    return float((shares(net, len(X), sample_weight) * example_costs(net, z[-1], y)).sum())


def backward(net, theta, X, y, sample_weight=None, factors=None):
    """(dz, da): ∂C/∂z(l) and ∂C/∂a(l) of the full cost, L arrays (n, n_out) each."""
    z, a = forward(net, theta, X, factors)
    share = shares(net, len(X), sample_weight)[:, None]
    da = [share * LOSSES[net.loss].delta(a[-1], targets(net, y))]
    dz = [share * output_dz(net, z[-1], a[-1], y)]
    for layer in range(len(z) - 1, 0, -1):
        w, _ = layers(net, theta)[layer]
        da.insert(0, np.einsum("jk,nj->nk", w, dz[0]) * (1.0 if factors is None else factors[layer - 1]))
        dz.insert(0, through(net.activations[layer - 1], z[layer - 1], da[0]))
    return dz, da


def value_and_gradient(net, theta, X, y, sample_weight=None, factors=None):
    """(cost, gradient) with the penalties, the gradient flat and in theta's order."""
    _, a = forward(net, theta, X, factors)
    dz, _ = backward(net, theta, X, y, sample_weight, factors)
    pairs = [(np.einsum("nk,nj->jk", a[i], dz[i]), dz[i].sum(axis=0)) for i in range(len(dz))]
    of_penalty = is_weight(net) * (net.l1 * np.sign(theta) + net.l2 * np.asarray(theta))
    return cost(net, theta, X, y, sample_weight, factors) + penalty(net, theta), flat(net, pairs) + of_penalty


def penalty(net, theta):
    """l1 Σ|w| + ½ l2 Σ w²."""
    w = np.asarray(theta, dtype=np.float64)[is_weight(net)]
    return net.l1 * np.abs(w).sum() + net.l2 * (w**2).sum() / 2


def central_differences(function, theta, step=1e-5):
    """(f(theta + h e_i) − f(theta − h e_i)) / 2h for every i, sign included."""
    slopes = np.empty(len(theta))
    for i in range(len(theta)):
        up, down = np.array(theta, dtype=np.float64), np.array(theta, dtype=np.float64)
        up[i] += step
        down[i] -= step
        slopes[i] = (function(up) - function(down)) / (up[i] - down[i])
    return slopes


# Dropout: factors 0 or 1 / (1 - p) from Philox4x32-10 (Salmon et al., SC 2011), in integers of Python's or NumPy's.


def philox(counter, key):
    """Four words of 32 bits for a counter of four and a key of two: ints, or uint64 arrays that broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    low = 2**32 - 1
    for _ in range(10):
        p0, p2 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p2 >> 32) ^ c1 ^ k0, p2 & low, (p0 >> 32) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & low, (k1 + 0xBB67AE85) & low
    return c0, c1, c2, c3


def dropout_words(seed, epoch, layer, examples, width):
    """A word of 32 random bits for each example (a row number) and unit of a hidden layer, counted from 0: (n, width).

    Unit j is lane i of word w in group g: j = 64 g + 16 w + i.
    """
    units = np.arange(width, dtype=np.uint64)
    group, word, lane = units // 64, units // 16 % 4, units % 16
    rows = np.asarray(examples, dtype=np.uint64)[:, None]
    counter = 16 * group + lane, np.full_like(units, layer), rows, np.full_like(units, epoch)
    words = philox(counter, (seed % 2**32, seed // 2**32))
    return np.choose(word.astype(int), np.broadcast_arrays(*words))


def dropout_factors(p, seed, epoch, layer, examples, width):
    """What the a_j of each example are multiplied with: 0 with probability p, else 1 / (1 - p)."""
    kept = dropout_words(seed, epoch, layer, examples, width) >= round(p * 2**32)
    return np.where(kept, 1 / (1 - round(p * 2**32) / 2**32), 0.0)


# Optimizers: step(theta, gradient, state) -> (theta, state), with state None before the first step.


def sgd_step(theta, g, state, learning_rate=0.01, momentum=0.0, nesterov=False):
    v = momentum * (np.zeros_like(g) if state is None else state) + g
    return theta - learning_rate * (g + momentum * v if nesterov else v), v


def adam_step(theta, g, state, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    m, v, t = (np.zeros_like(g), np.zeros_like(g), 0) if state is None else state
    m, v, t = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2, t + 1
    m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
    return theta - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), (m, v, t)


def adamw_step(theta, g, state, decayed, learning_rate=0.001, weight_decay=0.01, **others):
    after, state = adam_step(theta, g, state, learning_rate, **others)
    return after - learning_rate * weight_decay * decayed * theta, state


def nadam_step(theta, g, state, learning_rate=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-8, momentum_decay=0.004):
    m, v, t, product = (np.zeros_like(g), np.zeros_like(g), 0, 1.0) if state is None else state
    m, v, t = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2, t + 1
    mu, mu_next = (beta_1 * (1 - 0.96 ** (s * momentum_decay) / 2) for s in (t, t + 1))
    product *= mu
    ahead = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
    return theta - learning_rate * ahead / (np.sqrt(v / (1 - beta_2**t)) + epsilon), (m, v, t, product)


def rmsprop_step(theta, g, state, learning_rate=0.001, rho=0.9, epsilon=1e-8):
    v = rho * (np.zeros_like(g) if state is None else state) + (1 - rho) * g**2
    return theta - learning_rate * g / (np.sqrt(v) + epsilon), v


def adagrad_step(theta, g, state, learning_rate=0.01, epsilon=1e-10):
    v = (np.zeros_like(g) if state is None else state) + g**2
    return theta - learning_rate * g / (np.sqrt(v) + epsilon), v


def rprop_step(theta, g, state, learning_rate=0.1, shrink=0.5, grow=1.2, least=1e-6, most=50.0):
    before, delta = (np.zeros_like(g), np.full_like(g, learning_rate)) if state is None else state
    theta, g, delta = theta.copy(), g.copy(), delta.copy()
    for i in range(len(g)):
        if g[i] * before[i] > 0:
            delta[i] = min(grow * delta[i], most)
        elif g[i] * before[i] < 0:
            delta[i] = max(shrink * delta[i], least)
            g[i] = 0.0
        theta[i] -= np.sign(g[i]) * delta[i]
    return theta, (g, delta)


def clipped(step, clip_norm):
    """The step with the gradient scaled to a norm of at most clip_norm."""
    return lambda theta, g, state: step(theta, g * min(1.0, clip_norm / np.sqrt((g**2).sum())), state)


def scheduled(step, rate):
    """The step with learning rate rate(t), t = 0, 1, …"""

    def scheduled_step(theta, g, state):
        t, inner = (0, None) if state is None else state
        theta, inner = step(theta, g, inner, learning_rate=rate(t))
        return theta, (t + 1, inner)

    return scheduled_step


def trajectory(net, theta, X, y, step, epochs, batch_size, sample_weight=None):
    """(thetas, costs): the parameters after every step over unshuffled batches, and each epoch's mean cost.

    An epoch's cost is the weighted mean of the C_n, and of the penalty, as they were when their batch was visited.
    """
    thetas, costs, state = [np.asarray(theta, dtype=np.float64)], [], None
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(X), batch_size):
            some = slice(start, start + batch_size)
            z, _ = forward(net, thetas[-1], X[some])
            total += (weight[some] * (example_costs(net, z[-1], y[some]) + penalty(net, thetas[-1]))).sum()
            _, g = value_and_gradient(net, thetas[-1], X[some], y[some], weight[some])
            theta, state = step(thetas[-1], g, state)
            thetas.append(theta)
        costs.append(total / weight.sum())
    return thetas, np.array(costs)


# Problems to test with.

KINKS = {"relu": (0,), "leaky_relu": (0,), "selu": (0,), "hard_sigmoid": (-3, 3)}
"""Where an activation has no derivative."""


def problem(net, rows, seed=0, classes=False):
    """(theta, X, y): every number exact in float32, no z within 1e-3 of a kink, no gradient block zero.

    Units with a kink at 0 are on both sides of it. Losses that take a logarithm get outputs inside
    (0, 1), others keep off their kinks, too. classes asks for integer classes in place of rows of probabilities.
    """
    for attempt in range(100):
        rng = np.random.default_rng([seed, attempt])
        X = _exact(rng.uniform(-1, 1, (rows, net.sizes[0])))
        theta, y = _exact(_parameters(net, X, rng)), _targets(net, rows, rng, classes)
        if _kink_distance(net, theta, X, y) > 1e-3 and _is_alive(net, theta, X, y):
            return theta, X, y
    raise AssertionError(f"no usable problem for {net} with {rows} rows")


def _exact(values):
    """The nearest numbers that float32 holds exactly."""
    return values.astype(np.float32).astype(np.float64)


def _parameters(net, X, rng):
    """Layer by layer, each bias placed by the z that the layers below produce."""
    a, pairs = X, []
    for layer, name in enumerate(net.activations, 1):
        n_in, n_out = net.sizes[layer - 1 : layer + 1]
        w = rng.uniform(-1, 1, (n_out, n_in)) * np.sqrt(3 / n_in)
        b = rng.uniform(-0.5, 0.5, n_out) * net.bias
        z = a @ w.T
        takes_log = layer == len(net.sizes) - 1 and net.loss in TAKES_LOG
        if net.bias and takes_log and name in ("identity", "relu", "tanh"):
            scale = 0.3 / (0.3 + np.ptp(z, axis=0))
            w, b = w * scale[:, None], 0.5 - scale * (z.min(axis=0) + z.max(axis=0)) / 2
        elif net.bias and KINKS.get(name) == (0,):
            b = np.array([_clear_bias(column) for column in z.T])
        pairs.append((w, b))
        a = ACTIVATIONS[name].value(a @ w.T + b)
    return flat(net, pairs)


def _clear_bias(z):
    """A bias that puts the kink in the widest gap between the z of one unit, or below them all."""
    z = np.sort(z)
    gaps = np.diff(z)
    if len(gaps) == 0 or gaps.max() < 0.02:
        return 0.5 - z[0]
    widest = gaps.argmax()
    return -(z[widest] + z[widest + 1]) / 2


def _targets(net, rows, rng, classes):
    """Targets in the loss's own domain; probabilities are 64ths, so that their rows sum to exactly one."""
    n_out = net.sizes[-1]
    if net.loss in ("cross_entropy", "kullback_leibler"):
        return rng.integers(n_out, size=rows) if classes else rng.multinomial(64, np.ones(n_out) / n_out, rows) / 64
    if net.loss == "binary_cross_entropy":
        return rng.integers(0, 65, (rows, n_out)) / 64
    if net.loss == "hinge":
        return rng.choice([-1.0, 1.0], (rows, n_out))
    if net.loss == "poisson":
        return rng.integers(0, 5, (rows, n_out))
    return _exact(rng.uniform(-1, 1, (rows, columns(net))))


def _kink_distance(net, theta, X, y):
    z, a = forward(net, theta, X)
    of_loss = LOSSES[net.loss].kinks(a[-1], targets(net, y)).min()
    kinks = [(z[i], at) for i, name in enumerate(net.activations) for at in KINKS.get(name, ())]
    return min([of_loss, *(np.abs(z_i - at).min() for z_i, at in kinks)])


def _is_alive(net, theta, X, y):
    """No block of the gradient is zero, or so small by cancellation that float32 could not tell."""
    _, a = forward(net, theta, X)
    dz, _ = backward(net, theta, X, y)
    sums = flat(net, [(d.T @ below, d.sum(axis=0)) for below, d in zip(a, dz, strict=False)])
    sizes = flat(net, [(np.abs(d).T @ np.abs(below), np.abs(d).sum(axis=0)) for below, d in zip(a, dz, strict=False)])
    found, terms = blocks(net, sums), blocks(net, sizes)
    return all(np.abs(found[name]).max() > max(1e-4, 0.05 * terms[name].max()) for name in found)
