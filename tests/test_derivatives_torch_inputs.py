"""Derivatives in the inputs against torch.func in float64, over all activations, depths and ragged sizes."""

import os

import numpy as np
import pytest

import fastbp
from fastbp.core.formulas.activations import ACTIVATIONS

torch = pytest.importorskip("torch")
from torch import func  # noqa: E402 - after importorskip
from torch.nn import functional  # noqa: E402

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")]

OF_TORCH = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda z: functional.leaky_relu(z, 0.01),
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": lambda z: z * (1 + torch.erf(z / 2**0.5)) / 2,
    "gelu_tanh": lambda z: z / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3))),
    "silu": lambda z: z * torch.sigmoid(z),
    "mish": lambda z: z * torch.tanh(torch.log1p(torch.exp(z))),
    "softplus": lambda z: torch.log1p(torch.exp(z)),
    "hard_sigmoid": lambda z: torch.clamp(z / 6 + 0.5, 0, 1),
    "sin": torch.sin,
    "gaussian": lambda z: torch.exp(-(z**2)),
    "exponential": torch.exp,
    "softmax": lambda z: torch.softmax(z, 0),
}
SIZES = {1: (5, 3), 2: (3, 17, 2), 3: (18, 9, 7, 11), 4: (2, 5, 33, 6, 19)}
ROWS = (1, 3, 26)
CASES = [(name, "identity") for name in ACTIVATIONS] + [("tanh", name) for name in (*ACTIVATIONS, "softmax")]


def outputs_of(network):
    """The outputs of one example x as torch computes them: (theta, x) -> y."""
    activations = [OF_TORCH[name] for name in network.activations]

    def outputs(theta, x):
        for at, n_in, n_out, sigma in zip(network.offsets, network.sizes, network.sizes[1:], activations, strict=False):
            w = theta[at : at + n_in * n_out].reshape(n_in, n_out)
            x = sigma(x @ w + theta[at + n_in * n_out : at + (n_in + 1) * n_out])
        return x

    return outputs


def close(found, expected):
    expected = expected.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * max(1, np.abs(expected).max()))


def case(hidden, output, depth, rows):
    """A model, its function in torch, its parameters, and inputs."""
    model = fastbp.Model(SIZES[depth], hidden, output, loss="squared_error", dtype="float64", seed=depth)
    rng = np.random.default_rng([depth, rows])
    model.parameters += 0.1 * rng.normal(size=model.parameters.size)
    X = rng.normal(size=(rows, SIZES[depth][0]))
    return model, outputs_of(model.network), torch.tensor(model.parameters), X


DEPTHS = list(SIZES)
EVERY_DEPTH = bool(os.environ.get("FASTBP_EVERY_DEPTH"))
CASES_AT_DEPTHS = [
    (*pair, depth) for i, pair in enumerate(CASES) for depth in (DEPTHS if EVERY_DEPTH else [DEPTHS[i % len(DEPTHS)]])
]
"""Each pair at one depth, each in turn; with FASTBP_EVERY_DEPTH=1 at all, which takes minutes."""


@pytest.mark.parametrize(("hidden", "output", "depth"), CASES_AT_DEPTHS)
def test_jacobians_and_hessians_are_those_of_torch(hidden, output, depth):
    for rows in ROWS:
        model, outputs, theta, X = case(hidden, output, depth, rows)
        x = torch.tensor(X)
        close(model.input_jacobian(X), func.vmap(func.jacrev(outputs, argnums=1), (None, 0))(theta, x))
        close(model.input_hessian(X), func.vmap(func.hessian(outputs, argnums=1), (None, 0))(theta, x))


@pytest.mark.parametrize(("hidden", "output", "depth"), CASES_AT_DEPTHS)
def test_taylor_coefficients_and_their_gradient_are_those_of_torch(hidden, output, depth):
    orders = (1,) if output == "softmax" else (1, 2)
    for rows in ROWS:
        model, outputs, theta, X = case(hidden, output, depth, rows)
        rng = np.random.default_rng(rows)
        V = rng.normal(size=(2, *X.shape))
        x, v = torch.tensor(X), torch.tensor(V)

        def along(theta, x_n, v_n, outputs=outputs):
            def first(t):
                return func.jvp(lambda s: outputs(theta, x_n + s * v_n), (t,), (torch.ones_like(t),))

            zero = torch.zeros((), dtype=torch.float64)
            (y, y_1), (_, y_2) = func.jvp(first, (zero,), (torch.ones_like(zero),))
            return y, y_1, y_2

        coefficients = func.vmap(func.vmap(along, (None, 0, 0)), (None, None, 0))
        y, *primed = coefficients(theta, x, v)
        found = model.taylor(X, V, 2)
        close(found[0], y[0])
        for one, expected in zip(found[1:], primed, strict=True):
            close(one, expected)
        cotangents = [rng.normal(size=each.shape) for each in found]

        def total(theta, order, coefficients=coefficients, cotangents=cotangents, x=x, v=v):
            y, *primed = coefficients(theta, x, v)
            parts = zip([y[0], *primed[:order]], cotangents, strict=False)
            return sum((each * torch.tensor(c)).sum() for each, c in parts)

        for order in orders:
            close(model.taylor_vjp(X, V, cotangents[: order + 1]), func.grad(total)(theta, order))
