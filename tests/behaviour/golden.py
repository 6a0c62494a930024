"""Golden bits: digests of what short fits of many configurations end in.

The digests belong to one kind of CPU and are not kept in the project. Before and after a change that is to keep every
bit:  python tests/behaviour/golden.py before.txt;  python tests/behaviour/golden.py --compare before.txt
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from fastbp import SGD, Adam, AdamW, Model, RMSprop, schedules

ROWS, SEED = 90, 5
HIDDEN = (
    "identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus",
    "hard_sigmoid", "sin", "gaussian", "exponential",
)  # fmt: skip
LOSSES = {
    "squared_error": "identity", "half_squared_error": "tanh", "absolute_error": "identity", "huber": "identity",
    "log_cosh": "identity", "quantile": "identity", "hinge": "identity", "gaussian_nll": "identity",
    "cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "kullback_leibler": "softmax",
    "poisson": "exponential",
}  # fmt: skip
OPTIMIZERS = (
    "sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", "rprop", SGD(0.01, momentum=0.9),
    SGD(0.01, momentum=0.9, nesterov=True), Adam(0.01, clip_norm=0.1), AdamW(0.01, weight_decay=0.1),
    RMSprop(schedules.Cosine(0.01, steps=20)), SGD(0.1, clip_norm=0.5),
)  # fmt: skip
SIZES = (
    (1, 1), (2, 3, 1), (3, 1, 2), (4, 16, 3), (5, 17, 8, 2), (6, 24, 24, 4), (13, 32, 32, 2), (8, 64, 64, 4),
    (30, 100, 2), (64, 64, 10), (70, 96, 33, 7), (9, 128, 9), (20, 130, 65, 3), (7, 200, 48, 12), (33, 300, 300, 6),
    (5, 520, 40, 3), (10, 31, 15, 7, 5), (40, 48, 20), (16, 8, 8, 8, 1), (2, 600, 2),
)  # fmt: skip


def configurations() -> dict[str, dict[str, Any]]:
    """By name: keyword arguments of `digest`."""
    rows: dict[str, dict[str, Any]] = {}
    for i, sizes in enumerate(SIZES):
        for dtype in ("float32", "float64"):
            more = {"bias": False} if i % 5 == 4 else {}
            rows[f"{'-'.join(map(str, sizes))} {dtype}"] = {"sizes": sizes, "batch": (32, 7, 90)[i % 3], **more}
            rows[f"{'-'.join(map(str, sizes))} {dtype}"] |= {"dtype": dtype, "n_threads": 1 + i % 2}
    for i, hidden in enumerate(HIDDEN):
        rows[hidden] = {"sizes": (5, 19, 6, 2), "hidden": hidden, "dtype": ("float32", "float64")[i % 2]}
    for i, (loss, output) in enumerate(LOSSES.items()):
        rows[loss] = {"sizes": (5, 12, 4), "loss": loss, "output": output, "dtype": ("float64", "float32")[i % 2]}
    for i, optimizer in enumerate(OPTIMIZERS):
        rows[f"{i} {optimizer}"] = {"sizes": (5, 40, 3), "optimizer": optimizer, "batch": (90, 16)[i % 2]}
    options: dict[str, dict[str, Any]] = {
        "dropout": {"dropout": 0.3}, "dropout of layers": {"dropout": (0.1, 0.5)}, "l1": {"l1": 0.01},
        "l2": {"l2": 0.01}, "sum": {"reduction": "sum"}, "smoothing": {"label_smoothing": 0.1, "classes": True},
        "classes": {"classes": True}, "weights": {"weighted": True}, "absent": {"weighted": True, "absent": True},
        "sparse": {"is_sparse": True}, "no shuffle": {"shuffle": False}, "one row": {"batch": 1},
        "dropout, l2, weights, classes": {"dropout": 0.2, "l2": 0.01, "weighted": True, "classes": True},
    }  # fmt: skip
    for name, more in options.items():
        rows[name] = {"sizes": (6, 20, 24, 4), **more}
    return rows


def digest(
    sizes: tuple[int, ...],
    batch: int = 32,
    optimizer: Any = "adam",
    n_threads: int = 1,
    classes: bool = False,
    weighted: bool = False,
    absent: bool = False,
    is_sparse: bool = False,
    shuffle: bool = True,
    **options: Any,
) -> str:
    """Of parameters, costs, predictions, value, gradient and a step of `Model`, after two epochs."""
    rng = np.random.default_rng(SEED)
    X: Any = rng.normal(size=(ROWS, sizes[0]))
    outputs = sizes[-1] // 2 if options.get("loss") == "gaussian_nll" else sizes[-1]
    y = rng.uniform(0.05, 0.95, size=(ROWS, outputs))
    if options.get("output") == "softmax":
        y /= y.sum(axis=1, keepdims=True)
    if options.get("loss") == "hinge":
        y = np.sign(y - 0.5)
    if classes:
        y, options = rng.integers(sizes[-1], size=ROWS), {**options, "loss": "cross_entropy", "output": "softmax"}
    weights = rng.integers(0 if absent else 1, 4, ROWS) / 2 if weighted else None
    if is_sparse:
        X = sparse.csr_array(X * (X > 0.5))
    model = Model(sizes, seed=SEED, **options)
    history = model.fit(
        X, y, epochs=2, batch_size=batch, optimizer=optimizer, sample_weight=weights, n_threads=n_threads,
        shuffle=shuffle, validation_data=(X, y),
    )  # fmt: skip
    value, gradient = model.value_and_gradient(X, y, weights)
    found = [history.cost, history.validation_cost, model.predict(X), np.array(value), gradient]
    if not is_sparse:
        found += [np.array(model.step(X[:batch], y[:batch])), model.predict(X[:1])]
    return hashlib.sha256(b"".join(a.tobytes() for a in (*found, model.parameters))).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", help="where the digests are written; standard output by default")
    parser.add_argument("--compare", metavar="FILE", help="exit code 1 if a digest in FILE is another now")
    arguments = parser.parse_args()
    lines = [f"{digest(**row)} {name}" for name, row in configurations().items()]
    if arguments.compare:
        before = Path(arguments.compare).read_text().splitlines()
        changed = sorted(set(before) ^ set(lines))
        print(*changed, f"{len(lines)} configurations, {len(changed)} lines differ", sep="\n")
        sys.exit(bool(changed))
    text = "\n".join(lines) + "\n"
    if arguments.file:
        Path(arguments.file).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
