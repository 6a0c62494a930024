"""What the micro-kernel makes of its sums before it stores them: fused activations and derivatives."""

import numpy as np
import pytest
from kernel_calls import DTYPES, run

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
