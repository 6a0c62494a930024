"""The textbook, index by index: what the kernels of this folder compute, as loops that anybody can check.

Layer l has inputs k and outputs j; n is an example. da and dz are ∂C/∂a and ∂C/∂z of the cost C:

    z_j = Σ_k w_jk a_k + b_j        a_j = σ(z_j)                      forward
    dz_j = σ'(z_j) da_j             da_k = Σ_j w_jk dz_j              backward
    dw_jk = Σ_n a_nk dz_nj          db_j = Σ_n dz_nj                  gradients
    w_jk ← w_jk - η dw_jk           b_j ← b_j - η db_j                update

Nothing of the library calls this; the tests hold the kernels against it. The kernels that compute the same at the speed
of the machine: matmul/gemm.py the three sums, layers/forward_backward.py the walk through the layers, step/train.py the
whole loop.
"""

import numpy as np
from numba import njit, prange


@njit(parallel=True)
def forward(z, a, x, w, b, sigma):
    """z_nj = Σ_k w_jk x_nk + b_j, a_nj = σ(z_nj). Overwrites z and a (n, n_out); x (n, n_in), w (n_out, n_in)."""
    for n in prange(x.shape[0]):
        for j in range(w.shape[0]):
            z[n, j] = b[j]
            for k in range(w.shape[1]):
                z[n, j] += w[j, k] * x[n, k]
            a[n, j] = sigma(z[n, j])


@njit(parallel=True)
def backward(dx, dz, da, z, w, sigma_prime):
    """dz_nj = σ'(z_nj) da_nj, dx_nk = Σ_j w_jk dz_nj. Overwrites dz (n, n_out) and dx (n, n_in)."""
    for n in prange(z.shape[0]):
        for j in range(w.shape[0]):
            dz[n, j] = sigma_prime(z[n, j]) * da[n, j]
        for k in range(w.shape[1]):
            dx[n, k] = 0.0
            for j in range(w.shape[0]):
                dx[n, k] += w[j, k] * dz[n, j]


@njit
def gradients(dw, db, x, dz):
    """dw_jk = Σ_n x_nk dz_nj, db_j = Σ_n dz_nj. Overwrites dw (n_out, n_in) and db (n_out,)."""
    for j in range(dw.shape[0]):
        db[j] = 0.0
        for n in range(x.shape[0]):
            db[j] += dz[n, j]
        for k in range(dw.shape[1]):
            dw[j, k] = 0.0
            for n in range(x.shape[0]):
                dw[j, k] += x[n, k] * dz[n, j]


@njit
def update(w, b, dw, db, eta):
    """w_jk ← w_jk - η dw_jk, b_j ← b_j - η db_j. Changes w and b."""
    for j in range(w.shape[0]):
        b[j] -= eta * db[j]
        for k in range(w.shape[1]):
            w[j, k] -= eta * dw[j, k]


@njit
def squared_error(da, a, y):
    """C = 1/N Σ_n Σ_j (a_nj - y_nj)², returned; overwrites da (n, n_out) by ∂C/∂a_nj = 2/N (a_nj - y_nj)."""
    cost, scale = 0.0, 1.0 / a.shape[0]
    for n in range(a.shape[0]):
        for j in range(a.shape[1]):
            cost += scale * (a[n, j] - y[n, j]) ** 2
            da[n, j] = scale * 2.0 * (a[n, j] - y[n, j])
    return cost


@njit
def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


@njit
def sigmoid_prime(z):
    return sigmoid(z) * (1.0 - sigmoid(z))


@njit
def tanh(z):
    return np.tanh(z)


@njit
def tanh_prime(z):
    return 1.0 - np.tanh(z) ** 2


@njit
def relu(z):
    return max(z, 0.0)


@njit
def relu_prime(z):
    return 1.0 if z > 0.0 else 0.0


@njit
def identity(z):
    return z


@njit
def identity_prime(z):
    return 1.0


ACTIVATIONS = {
    "sigmoid": (sigmoid, sigmoid_prime),
    "tanh": (tanh, tanh_prime),
    "relu": (relu, relu_prime),
    "identity": (identity, identity_prime),
}
"""σ and σ' by name."""


def train(weights, biases, activations, X, y, eta, batch, epochs):
    """Plain gradient descent on the squared error, by mini-batches in the order of the rows; returns each step's cost.

    Changes weights, (n_out, n_in) each, and biases, (n_out,) each; activations: a name of each layer.
    """
    costs, layers = [], range(len(weights))
    for begin in [*range(0, len(X), batch)] * epochs:
        a = [X[begin : begin + batch]]
        z = [np.empty((len(a[0]), len(b))) for b in biases]
        for l in layers:
            a.append(np.empty_like(z[l]))
            forward(z[l], a[l + 1], a[l], weights[l], biases[l], ACTIVATIONS[activations[l]][0])
        da = np.empty_like(a[-1])
        costs.append(squared_error(da, a[-1], y[begin : begin + batch]))
        for l in reversed(layers):
            dz, da_below = np.empty_like(z[l]), np.empty_like(a[l])
            backward(da_below, dz, da, z[l], weights[l], ACTIVATIONS[activations[l]][1])
            dw, db = np.empty_like(weights[l]), np.empty_like(biases[l])
            gradients(dw, db, a[l], dz)
            update(weights[l], biases[l], dw, db, eta)
            da = da_below
    return costs
