"""The micro-kernel's sums, and what it makes of them before it stores them: fused activations and derivatives."""

import itertools

import numpy as np
import pytest
from guard import Guard
from kernel_calls import DTYPES, EPSILON, WIDTHS, run

from fastbp.core import reference
from fastbp.core.ir.kernel import lanes_of
from fastbp.core.layers import activation_kernels
from fastbp.core.matmul import gemm


@pytest.mark.parametrize("sigma", list(filter(activation_kernels.is_short, activation_kernels.ACTIVATIONS)))
def test_a_fused_activation_has_the_bits_of_the_activation_kernel(sigma: str, size: int) -> None:
    rng, M, N, R = np.random.default_rng(7), 31, 2 * lanes_of(size), 5
    b, S, V = (rng.normal(size=shape).astype(DTYPES[size]) for shape in (N, (M, R), (R, N)))
    z, a, wanted = (np.empty((M, N), DTYPES[size]) for _ in range(3))
    for C, name in ((z, "identity"), (a, sigma)):
        run(gemm.panel(size, 2, 1, name), C, N, 0, b, 0, S, R, 1, V, N, M, N, R)
    run(activation_kernels.forward(sigma, size, N), wanted, z, M, N, N)
    assert a.tobytes() == wanted.tobytes() != z.tobytes()


@pytest.mark.parametrize(
    "sigma", [name for name in activation_kernels.ACTIVATIONS if activation_kernels.has_short_derivative(name)]
)
def test_a_fused_derivative_has_the_bits_of_the_activation_kernel(sigma: str, size: int) -> None:
    rng, M, N, R = np.random.default_rng(7), 31, 2 * lanes_of(size), 5
    zeros, S, V = np.zeros(N, DTYPES[size]), *(rng.normal(size=n).astype(DTYPES[size]) for n in ((M, R), (R, N)))
    both, da, wanted = np.empty((2, M, N), DTYPES[size]), *(np.empty((M, N), DTYPES[size]) for _ in range(2))
    a, dz = both
    run(activation_kernels.forward(sigma, size, N), a, rng.normal(size=(M, N)).astype(DTYPES[size]), M, N, N)
    run(gemm.panel(size, 2, 1, f"{sigma}'"), dz, N, -M * N, zeros, 0, S, R, 1, V, N, M, N, R)
    run(gemm.panel(size, 2, 1), da, N, 0, zeros, 0, S, R, 1, V, N, M, N, R)
    run(activation_kernels.backward(sigma, size), wanted, a, a, da, M, N, N)
    assert dz.tobytes() == wanted.tobytes() != da.tobytes()


@pytest.mark.parametrize("sigma", ["identity", "relu"])
def test_sums_of_every_length_are_the_loops_of_the_textbook(sigma: str, size: int, guard: Guard) -> None:
    rng, n_out = np.random.default_rng(3), 2 * lanes_of(size)
    kernel, function = gemm.panel(size, 2, True, sigma), reference.ACTIVATIONS[sigma][0]
    for rows, n_in in itertools.product((1, 4, 13), WIDTHS):
        x, w, b = (
            guard.copy(rng.normal(size=shape), DTYPES[size], writeable=False)
            for shape in ((rows, n_in), (n_in, n_out), n_out)
        )
        a = guard.empty((rows, n_out), DTYPES[size])
        run(kernel, a, n_out, 0, b, 0, x, n_in, 1, w, n_out, rows, n_out, n_in)
        z, expected = np.empty((2, rows, n_out))
        reference.forward(z, expected, x.astype("f8"), np.ascontiguousarray(w.T, "f8"), b.astype("f8"), function)
        np.testing.assert_allclose(a, expected, rtol=0, atol=3 * EPSILON[size])
