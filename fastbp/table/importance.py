"""Permutation importance: how much worse a model is when the cells of one column are shuffled."""

from typing import Any

import numpy as np

from fastbp.table.model import TableModel

ROUNDS = 5


def permutation(model: TableModel, frame: Any, seed: int = 0) -> list[tuple[str, float]]:
    """(column, increase of log loss or RMSE), the largest first, means of shuffles (Breiman, Machine Learning 2001)."""
    rng = np.random.default_rng(seed)
    score = "log_loss" if model.targets.labels else "rmse"
    before = model.evaluate(frame)[score]
    found = []
    for column in model.columns:
        worse = [
            model.evaluate(frame.with_columns(frame[column.name][rng.permutation(len(frame)).tolist()]))[score] - before
            for _ in range(ROUNDS)
        ]
        found.append((column.name, float(np.mean(worse))))
    return sorted(found, key=lambda pair: -pair[1])
