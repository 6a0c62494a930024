"""Derivatives in theta against torch.func in float64: all activations and losses, ragged widths and batches.

Each pair at one depth; at all of them with FASTBP_EVERY_DEPTH=1.
"""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

import fastbp
from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.formulas.losses import LOSSES
from fastbp.losses import FITTING, OWN_OUTPUT

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

F = torch.nn.functional
VALUES: dict[str, Callable] = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": lambda z: torch.log1p(torch.exp(z)),
    "hard_sigmoid": lambda z: torch.clamp(z / 6 + 0.5, 0, 1),
    "sin": torch.sin,
    "gaussian": lambda z: torch.exp(-z * z),
    "exponential": torch.exp,
    "softmax": lambda z: torch.softmax(z, -1),
}
COSTS: dict[str, Callable] = {
    "squared_error": lambda a, y: (a - y) ** 2,
    "half_squared_error": lambda a, y: (a - y) ** 2 / 2,
    "cross_entropy": lambda a, y: -y * torch.log(a),
    "binary_cross_entropy": lambda a, y: -y * torch.log(a) - (1 - y) * torch.log1p(-a),
    "kullback_leibler": lambda a, y: y * torch.log(y / a),
    "poisson": lambda a, y: a - y * torch.log(a),
    "absolute_error": lambda a, y: abs(a - y),
    "quantile": lambda a, y: torch.where(a > y, a - y, y - a) / 2,
    "huber": lambda a, y: torch.where(abs(a - y) > 1, abs(a - y) - 0.5, (a - y) ** 2 / 2),
    "log_cosh": lambda a, y: torch.log(torch.cosh(a - y)),
    "hinge": lambda a, y: torch.relu(1 - y * a),
    "gaussian_nll": lambda a, y: (a[a.shape[0] // 2 :] + (y - a[: len(y)]) ** 2 * torch.exp(-a[len(y) :])) / 2,
}
FLAT = ("absolute_error", "quantile", "hinge", "gaussian_nll")
SIZES = ((3, 4), (5, 9, 2), (2, 17, 3, 6), (7, 1, 11, 8, 4))
ROWS = (1, 6, 29)
PAIRS = [(output, loss) for loss in LOSSES for output in FITTING.get(loss, ("", ("identity", "tanh", "softmax")))[1]]


def test_all_names_are_compared() -> None:
    assert set(VALUES) == {*ACTIVATIONS, "softmax"}
    assert set(COSTS) == set(LOSSES)


class Twin:
    """Functions of theta for torch.func, with the model's sizes, activations and loss."""

    def __init__(self, model, hidden, output, loss):
        self.sizes, self.hidden, self.output, self.cost = model.network.sizes, hidden, output, COSTS[loss]
        self.fused = OWN_OUTPUT.get(loss) == output

    def z(self, theta, x):
        """z of the outputs of one example."""
        at, a = 0, x
        for l, (n_in, n_out) in enumerate(pairwise(self.sizes)):
            w, b = theta[at : at + n_in * n_out].reshape(n_in, n_out), theta[at + n_in * n_out :][:n_out]
            z, at = a @ w + b, at + (n_in + 1) * n_out
            a = VALUES[self.hidden](z) if l + 2 < len(self.sizes) else z
        return a

    def y(self, theta, x):
        return VALUES[self.output](self.z(theta, x))

    def loss(self, theta, x, y):
        return self.cost(self.y(theta, x), y).sum()

    def total(self, theta, X, y, weights):
        costs = torch.func.vmap(self.loss, in_dims=(None, 0, 0))(theta, X, y)
        return (weights * costs).sum() / weights.sum()

    def gauss_newton(self, theta, X, y, weights, v):
        """Σ_n w_n Jᵀ H J v / Σ_n w_n, with J and H in z for a loss with its own output."""
        of_theta = self.z if self.fused else self.y

        def of_one(x, y, weight):
            value, back = torch.func.vjp(lambda t: of_theta(t, x), theta)
            along = torch.func.jvp(lambda t: of_theta(t, x), (theta,), (v,))[1]
            cost = lambda u: self.cost(VALUES[self.output](u) if self.fused else u, y).sum()  # noqa: E731
            return weight * back(torch.func.jvp(torch.func.grad(cost), (value,), (along,))[1])[0]

        return torch.func.vmap(of_one)(X, y, weights).sum(0) / weights.sum()


def model_of(sizes, hidden, output, loss):
    """Biases are not 0, where kinks are; weights are so small that e^e^e^z is not far from 1."""
    model = fastbp.Model(sizes, hidden, output, loss=loss, dtype="float64", seed=1)
    model.parameters += np.random.default_rng(1).normal(size=model.parameters.size) * 0.1
    model.parameters *= 0.3 if hidden == "exponential" else 1.0
    return model


def examples_of(rng, model, loss, rows):
    n_in, n_out = model.network.n_inputs, model.network.n_outputs
    y = rng.uniform(0.1, 0.9, (rows, n_out // 2 if loss == "gaussian_nll" else n_out))
    if loss in ("cross_entropy", "kullback_leibler"):
        y /= y.sum(axis=1, keepdims=True)
    if loss == "hinge":
        y = np.where(y > 0.5, 1.0, -1.0)
    return rng.normal(size=(rows, n_in)) / 2, y, rng.uniform(0.5, 2, rows)


def close(found, wanted):
    wanted = wanted.numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * max(1.0, np.abs(wanted).max()))


NAMES = list(ACTIVATIONS)
EVERY_DEPTH = bool(os.environ.get("FASTBP_EVERY_DEPTH"))


def depths(number: int) -> Sequence[tuple[int, ...]]:
    """The sizes for a pair: one depth, each in turn, or all of them, which take ten minutes."""
    return SIZES if EVERY_DEPTH else SIZES[number % len(SIZES) :][:1]


@pytest.mark.parametrize("hidden", ACTIVATIONS)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_of_losses(hidden: str, output: str, loss: str) -> None:
    for sizes in depths(NAMES.index(hidden) + PAIRS.index((output, loss))):
        model = model_of(sizes, hidden, output, loss)
        twin, theta = Twin(model, hidden, output, loss), torch.from_numpy(model.parameters.copy())
        for rows in ROWS:
            rng = np.random.default_rng(rows)
            X, y, weights = arrays = examples_of(rng, model, loss, rows)
            v = rng.normal(size=model.parameters.shape)
            tensors, direction = tuple(map(torch.from_numpy, arrays)), torch.from_numpy(v)
            gradient = torch.func.grad(lambda t, twin=twin, tensors=tensors: twin.total(t, *tensors))
            close(model.hessian_vector_product(X, y, v, weights), torch.func.jvp(gradient, (theta,), (direction,))[1])
            each = torch.func.vmap(torch.func.grad(twin.loss), in_dims=(None, 0, 0))(theta, *tensors[:2])
            close(model.example_gradients(X, y), each)
            close(model.example_gradient_norms(X, y), each.norm(dim=1))
            if loss not in FLAT:
                wanted = twin.gauss_newton(theta, *tensors, direction)
                close(model.gauss_newton_vector_product(X, y, v, weights), wanted)


@pytest.mark.parametrize("output", VALUES)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_parameter_jacobian(hidden: str, output: str) -> None:
    for sizes in depths(NAMES.index(hidden) + list(VALUES).index(output)):
        model = model_of(sizes, hidden, output, "squared_error")
        twin, theta = Twin(model, hidden, output, "squared_error"), torch.from_numpy(model.parameters.copy())
        for rows in ROWS:
            X = np.random.default_rng(rows).normal(size=(rows, sizes[0])) / 2
            wanted = torch.func.vmap(torch.func.jacrev(twin.y), in_dims=(None, 0))(theta, torch.from_numpy(X))
            close(model.parameter_jacobian(X), wanted)
