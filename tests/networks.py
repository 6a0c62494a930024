"""Networks of every width, with rows and targets."""

import numpy as np
from kernel_calls import WIDTHS

from fastbp import Model

KINDS = [
    ("relu", "softmax", "cross_entropy"),
    ("tanh", "identity", "squared_error"),
    ("sigmoid", "sigmoid", "binary_cross_entropy"),
    ("identity", "tanh", "half_squared_error"),
]


def example(i: int, dtype: str, rng: np.random.Generator) -> tuple[Model, np.ndarray, np.ndarray]:
    """A network with the i-th width in every place in turn, some rows, and targets that its loss takes."""
    width, other = WIDTHS[i], WIDTHS[(i * 29 + 7) % len(WIDTHS)]
    sizes = [(width, other, 3), (other, width, 2), (5, other, width), (width, 1, other, width)][i % 4]
    hidden, output, loss = KINDS[(i // 4) % 4]
    dropped = (0.0, 0.25, 0.5)[i % 3]
    model = Model(sizes, hidden, output, loss, bias=i % 5 != 0, dtype=dtype, seed=i, dropout=dropped)
    rows = (1, 2, 7, 13, 70)[i % 5]
    X = rng.normal(size=(rows, sizes[0])).astype(dtype)
    y = 1 / (1 + np.exp(-rng.normal(size=(rows, sizes[-1]))))
    if loss == "cross_entropy":
        y = rng.integers(0, sizes[-1], rows) if i % 2 else y / y.sum(axis=1, keepdims=True)
    return model, X, y.astype(dtype)
