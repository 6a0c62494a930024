"""The report of a training on a table, as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.table import scores
from fastbp.table.columns import Found
from fastbp.table.model import TableModel

WIDEST = 64  # characters of a cell
MOST_LINES = 40  # columns or classes shown


def grid(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned lines of a text table."""
    cells = [[str(cell)[:WIDEST] for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def of_columns(found: Sequence[Found]) -> list[str]:
    """A line for each column."""
    rows = [(f.name, f.kind, f"{f.missing:,}", f"{f.distinct:,}", f.becomes) for f in found[:MOST_LINES]]
    more = [f"… and {len(found) - MOST_LINES} more"] * (len(found) > MOST_LINES)
    return grid(("column", "kind", "missing", "distinct", "becomes"), rows) + more


def of_training(model: TableModel) -> list[str]:
    """What is predicted, the split, the network and its training."""
    targets, history, network = model.targets, model.history, model.model.network
    tested = 0 if model.tested is None else len(model.tested)
    trained, validated = model.n_rows
    what = f"{len(targets.labels)} classes" if targets.labels else "numbers (regression)"
    dropped = f"; {model.n_dropped:,} without a target are not used" if model.n_dropped else ""
    best = f", the best after {1 + int(np.argmin(history.validation_cost))}" if validated else ""
    return [
        f"target    {', '.join(targets.names)}: {what}; --task overrides it",
        f"data      {trained:,} rows to train, {validated:,} to stop early, {tested:,} to test{dropped}",
        f"network   {'-'.join(map(str, network.sizes))}, {network.n_parameters:,} parameters",
        f"training  {len(history)} epochs in {float(history.seconds.sum()):.2f} s{best}",
    ]


def of_scores(found: dict[str, float]) -> list[str]:
    """The scores beside the baseline's, and a warning where they are not better."""
    if "accuracy" in found:
        lines = [
            f"accuracy  {100 * found['accuracy']:.2f} %, "
            f"the most frequent class {100 * found['baseline_accuracy']:.2f} %",
            f"log loss  {found['log_loss']:.4g}, the shares of the classes {found['baseline_log_loss']:.4g}",
        ]
        beaten = found["accuracy"] > found["baseline_accuracy"]
    else:
        lines = [
            f"R²        {found['r2']:.4f}",
            f"MAE       {found['mae']:.4g}, the mean {found['baseline_mae']:.4g}",
            f"RMSE      {found['rmse']:.4g}, the mean {found['baseline_rmse']:.4g}",
        ]
        beaten = found["rmse"] < found["baseline_rmse"]
    return lines if beaten else [*lines, "warning   the model is not better than this baseline: do not use it as it is"]


def of_classes(model: TableModel, frame: Any) -> list[str]:
    """Precision and recall of each class."""
    labels = model.targets.labels or ()
    y = model.targets.encode(frame)
    precision, recall, confusion = scores.of_each_class(y, model.outputs(frame).argmax(axis=1), len(labels))
    rows = [
        (label, f"{rows:,}", percent(p), percent(r))
        for label, rows, p, r in zip(labels, confusion.sum(axis=1), precision, recall, strict=True)
    ]
    return grid(("class", "rows", "precision", "recall"), rows[:MOST_LINES])


def percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def of_importance(importance: Sequence[tuple[str, float]]) -> list[str]:
    """Columns by how much worse the log loss or the RMSE is when their cells are shuffled."""
    return grid(("column", "importance"), [(name, f"{loss:.4g}") for name, loss in importance[:MOST_LINES]])
