"""The gradient of a network's outputs with respect to its inputs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import Model
from fastbp.core.layers import activation_kernels

Array = NDArray[Any]


def derivative(activation: Any, z: Array, a: Array) -> Array:
    """σ'(z) of an elementwise activation, shaped like z; a = σ(z)."""
    padded = -(-z.size // 64) * 64  # whole vectors
    d = np.ones(padded, z.dtype)
    z_, a_ = np.zeros(padded, z.dtype), np.zeros(padded, z.dtype)
    z_[: z.size], a_[: z.size] = z.ravel(), a.ravel()
    kernel = activation_kernels.backward(activation, z.itemsize).ctypes
    kernel(d.ctypes.data, z_.ctypes.data, a_.ctypes.data, d.ctypes.data, 1, padded, padded)
    return d[: z.size].reshape(z.shape)


def input_gradient(model: Model, X: Array) -> Array:
    """J_njk = ∂a_j(L)/∂x_k at each example n: the product of σ'(z) W over the layers, from the outputs down."""
    network = model.network
    z, a = model.forward(X)
    layers = list(zip(model.weights, network.activations, z, a[1:], strict=True))
    w, activation, z_l, a_l = layers.pop()
    if activation == "softmax":  # ∂a_j/∂z_i = a_j (δ_ji - a_i)
        jacobian = a_l[:, :, None] * (w - (a_l @ w)[:, None, :])
    else:
        jacobian = derivative(activation, z_l, a_l)[:, :, None] * w
    for w, activation, z_l, a_l in reversed(layers):
        jacobian = (jacobian * derivative(activation, z_l, a_l)[:, None, :]) @ w
    return np.ascontiguousarray(jacobian)
