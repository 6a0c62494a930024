"""The textbook of derivatives, index by index: what core/derivatives computes, as loops that anybody can check.

Along a direction x', w', b', with da and dz for ∂c/∂a and ∂c/∂z of a number c:

    z'_j = Σ_k w_jk a'_k + w'_jk a_k + b'_j       a'_j = σ'(z_j) z'_j                               tangent
    z''_j = Σ_k w_jk a''_k                        a''_j = σ''(z_j) z'_j² + σ'(z_j) z''_j            curve
    dz'_j = σ''(z_j) z'_j da_j + σ'(z_j) da'_j    da'_k = Σ_j w_jk dz'_j + w'_jk dz_j               tangent_of_deltas
    dw'_jk = Σ_n a'_nk dz_nj + a_nk dz'_nj        db'_j = Σ_n dz'_nj                                tangent_of_gradients

(R. Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6, 1994.) A network is a list of layers,
each a tuple (w, b, σ, σ', σ'', σ''') with w (n_out, n_in), b (n_out,). Nothing of the library calls this; the tests
hold the kernels against it.
"""

import numpy as np
from numba import njit

from fastbp.core.reference import backward, forward, gradients


@njit
def tangent(z_t, a_t, z, x, x_t, w, w_t, b_t, first):
    """z'_nj = Σ_k w_jk x'_nk + w'_jk x_nk + b'_j, a'_nj = σ'(z_nj) z'_nj. Overwrites z' and a' (n, n_out)."""
    for n in range(z.shape[0]):
        for j in range(z.shape[1]):
            z_t[n, j] = b_t[j]
            for k in range(x.shape[1]):
                z_t[n, j] += w[j, k] * x_t[n, k] + w_t[j, k] * x[n, k]
            a_t[n, j] = first(z[n, j]) * z_t[n, j]


@njit
def curve(z_tt, a_tt, z, z_t, x_tt, w, first, second):
    """z''_nj = Σ_k w_jk x''_nk, a''_nj = σ''(z_nj) z'_nj² + σ'(z_nj) z''_nj. Overwrites z'' and a'' (n, n_out)."""
    for n in range(z.shape[0]):
        for j in range(z.shape[1]):
            z_tt[n, j] = 0.0
            for k in range(x_tt.shape[1]):
                z_tt[n, j] += w[j, k] * x_tt[n, k]
            a_tt[n, j] = second(z[n, j]) * z_t[n, j] ** 2 + first(z[n, j]) * z_tt[n, j]


@njit
def tangent_of_deltas(dx_t, dz_t, dz, da, da_t, z, z_t, w, w_t, first, second):
    """dz'_nj = σ''(z_nj) z'_nj da_nj + σ'(z_nj) da'_nj, dx'_nk = Σ_j w_jk dz'_nj + w'_jk dz_nj.

    Overwrites dz' (n, n_out) and dx' (n, n_in).
    """
    for n in range(z.shape[0]):
        for j in range(z.shape[1]):
            dz_t[n, j] = second(z[n, j]) * z_t[n, j] * da[n, j] + first(z[n, j]) * da_t[n, j]
        for k in range(w.shape[1]):
            dx_t[n, k] = 0.0
            for j in range(w.shape[0]):
                dx_t[n, k] += w[j, k] * dz_t[n, j] + w_t[j, k] * dz[n, j]


@njit
def tangent_of_gradients(dw_t, db_t, x, x_t, dz, dz_t):
    """dw'_jk = Σ_n x'_nk dz_nj + x_nk dz'_nj, db'_j = Σ_n dz'_nj. Overwrites dw' (n_out, n_in) and db' (n_out,)."""
    for j in range(dw_t.shape[0]):
        db_t[j] = 0.0
        for n in range(x.shape[0]):
            db_t[j] += dz_t[n, j]
        for k in range(dw_t.shape[1]):
            dw_t[j, k] = 0.0
            for n in range(x.shape[0]):
                dw_t[j, k] += x_t[n, k] * dz[n, j] + x[n, k] * dz_t[n, j]


@njit
def example_gradients(dw, db, x, dz):
    """dw_njk = x_nk dz_nj, db_nj = dz_nj, of each example n. Overwrites dw (n, n_out, n_in) and db (n, n_out)."""
    for n in range(x.shape[0]):
        for j in range(dz.shape[1]):
            db[n, j] = dz[n, j]
            for k in range(x.shape[1]):
                dw[n, j, k] = x[n, k] * dz[n, j]


@njit
def add_curvature(H, z, z_t, da, second):
    """H_nkm ← H_nkm + Σ_j da_nj σ''(z_nj) z'_nkj z'_nmj: a layer's part of ∂²c/∂x_k∂x_m; z' (n, n_in, n_out)."""
    for n in range(z.shape[0]):
        for k in range(z_t.shape[1]):
            for m in range(z_t.shape[1]):
                for j in range(z.shape[1]):
                    H[n, k, m] += da[n, j] * second(z[n, j]) * z_t[n, k, j] * z_t[n, m, j]


@njit
def taylor_adjoint(dz, dz_t, dz_tt, z, z_t, z_tt, da, da_t, da_tt, first, second, third):
    """∂c/∂z, ∂c/∂z' and ∂c/∂z'' of a number c, from those in a = σ(z), a' = σ' z' and a'' = σ'' z'² + σ' z''.

    dz = σ' da + σ'' z' da' + (σ''' z'² + σ'' z'') da'', dz' = σ' da' + 2 σ'' z' da'', dz'' = σ' da''. Overwrites them.
    """
    for n in range(z.shape[0]):
        for j in range(z.shape[1]):
            s_1, s_2, s_3 = first(z[n, j]), second(z[n, j]), third(z[n, j])
            curved = s_3 * z_t[n, j] ** 2 + s_2 * z_tt[n, j]
            dz[n, j] = s_1 * da[n, j] + s_2 * z_t[n, j] * da_t[n, j] + curved * da_tt[n, j]
            dz_t[n, j] = s_1 * da_t[n, j] + 2.0 * s_2 * z_t[n, j] * da_tt[n, j]
            dz_tt[n, j] = s_1 * da_tt[n, j]


# --- through all layers -----------------------------------------------------------------------------------------------


def values(layers, X):
    """z of each layer, and a behind a[0] = X."""
    z, a = [], [X]
    for w, b, sigma, *_ in layers:
        z.append(np.empty((len(X), len(b))))
        a.append(np.empty_like(z[-1]))
        forward(z[-1], a[-1], a[-2], w, b, sigma)
    return z, a


def tangents(layers, z, a, x_t, theta_t):
    """z' and a' of each layer along x' (n, n_in) and θ', a list of (w', b')."""
    z_t, a_t = [], [x_t]
    for l, ((w, _, _, first, *_), (w_t, b_t)) in enumerate(zip(layers, theta_t, strict=True)):
        z_t.append(np.empty_like(z[l]))
        a_t.append(np.empty_like(z[l]))
        tangent(z_t[l], a_t[l + 1], z[l], a[l], a_t[l], w, w_t, b_t, first)
    return z_t, a_t


def deltas(layers, z, cotangent):
    """dz and da of each layer, and dx, from ∂c/∂y = cotangent (n, n_out)."""
    dz, da = [], [cotangent]
    for (w, _, _, first, *_), z_l in zip(reversed(layers), reversed(z), strict=True):
        dz.insert(0, np.empty_like(z_l))
        da.insert(0, np.empty((len(z_l), w.shape[1])))
        backward(da[0], dz[0], da[1], z_l, w, first)
    return dz, da[1:], da[0]


def zero_direction(layers):
    """θ' = 0."""
    return [(np.zeros_like(w), np.zeros_like(b)) for w, b, *_ in layers]


def jvp(layers, X, x_t, theta_t):
    """y and y' = Σ_k ∂y/∂x_k x'_k + Σ_p ∂y/∂θ_p θ'_p."""
    z, a = values(layers, X)
    return a[-1], tangents(layers, z, a, x_t, theta_t)[1][-1]


def vjp(layers, X, cotangent):
    """dx_nk = Σ_j c_nj ∂y_nj/∂x_nk, and (dw, db) of each layer: Σ_nj c_nj ∂y_nj/∂w, ∂b."""
    z, a = values(layers, X)
    dz, _, dx = deltas(layers, z, cotangent)
    dtheta = zero_direction(layers)
    for (dw, db), x, d in zip(dtheta, a, dz, strict=False):
        gradients(dw, db, x, d)
    return dx, dtheta


def input_jacobian(layers, X):
    """∂y_nj/∂x_nk, (n, n_out, n_in): one tangent for each input k."""
    columns = []
    for k in range(X.shape[1]):
        x_t = np.zeros_like(X)
        x_t[:, k] = 1.0
        columns.append(jvp(layers, X, x_t, zero_direction(layers))[1])
    return np.stack(columns, axis=-1)


def input_hessian(layers, X):
    """∂²y_nj/∂x_nk∂x_nm, (n, n_out, n_in, n_in): each layer adds its curvature along every pair of inputs."""
    z, a = values(layers, X)
    directions = []
    for k in range(X.shape[1]):
        x_t = np.zeros_like(X)
        x_t[:, k] = 1.0
        directions.append(tangents(layers, z, a, x_t, zero_direction(layers))[0])
    H = np.zeros((len(X), a[-1].shape[1], X.shape[1], X.shape[1]))
    for j in range(a[-1].shape[1]):
        cotangent = np.zeros_like(a[-1])
        cotangent[:, j] = 1.0
        da, H_j = deltas(layers, z, cotangent)[1], np.zeros((len(X), X.shape[1], X.shape[1]))
        for l, (_, _, _, _, second, *_) in enumerate(layers):
            add_curvature(H_j, z[l], np.stack([z_t[l] for z_t in directions], axis=1), da[l], second)
        H[:, j] = H_j
    return H


def hessian_vector_product(layers, X, theta_t, slope, curvature):
    """(dw', db') of each layer: ∂²C/∂θ² θ' of C = Σ_nj c(a_nj); slope and curvature: ∂c/∂a, ∂²c/∂a² of an array a."""
    z, a = values(layers, X)
    z_t, a_t = tangents(layers, z, a, np.zeros_like(X), theta_t)
    dz, da, _ = deltas(layers, z, slope(a[-1]))
    da_t, products = curvature(a[-1]) * a_t[-1], zero_direction(layers)
    for l in reversed(range(len(layers))):
        w, _, _, first, second, *_ = layers[l]
        dz_t, dx_t = np.empty_like(z[l]), np.empty_like(a[l])
        tangent_of_deltas(dx_t, dz_t, dz[l], da[l], da_t, z[l], z_t[l], w, theta_t[l][0], first, second)
        tangent_of_gradients(*products[l], a[l], a_t[l], dz[l], dz_t)
        da_t = dx_t
    return products


def gauss_newton_vector_product(layers, X, theta_t, curvature):
    """(dw, db) of each layer: Jᵀ diag(∂²c/∂a²) J θ', J = ∂y/∂θ."""
    y, y_t = jvp(layers, X, np.zeros_like(X), theta_t)
    return vjp(layers, X, curvature(y) * y_t)[1]


def taylor(layers, X, x_t):
    """y, y' and y'' at t = 0 of the network's outputs along x + t x'."""
    z, a = values(layers, X)
    z_t, a_t = tangents(layers, z, a, x_t, zero_direction(layers))
    x_tt = np.zeros_like(X)
    z_tt, a_tt = [], [x_tt]
    for l, (w, _, _, first, second, *_) in enumerate(layers):
        z_tt.append(np.empty_like(z[l]))
        a_tt.append(np.empty_like(z[l]))
        curve(z_tt[l], a_tt[l + 1], z[l], z_t[l], a_tt[l], w, first, second)
    return (z, z_t, z_tt), (a, a_t, a_tt)


def taylor_vjp(layers, X, x_t, cotangents):
    """(dw, db) of each layer: the gradient in θ of Σ <c, y> + <c', y'> + <c'', y''>."""
    zs, sides = taylor(layers, X, x_t)
    products, da = zero_direction(layers), list(cotangents)
    for l in reversed(range(len(layers))):
        w, _, _, first, second, third = layers[l]
        dz = [np.empty_like(zs[0][l]) for _ in range(3)]
        taylor_adjoint(*dz, *(z[l] for z in zs), *da, first, second, third)
        dw, db = products[l]
        for order, d in enumerate(dz):
            part_w, part_b = np.empty_like(dw), np.empty_like(db)
            gradients(part_w, part_b, sides[order][l], d)
            dw += part_w
            db += part_b if order == 0 else 0.0
            da[order] = d @ w
    return products
