"""Predictions: many rows, and one row from Python and from compiled code."""

from typing import Any

from benchmarks import shapes
from fastbp.bench import cases
from fastbp.bench.backends import fastbp_

NETWORKS = {case.name: case for case in shapes.table("cross_entropy", "float32", "adam") if case.name in "ABDEF"}


class Predict:
    """The table's networks. A measurement makes as many calls as `cases.PREDICTIONS` says: 20, 1000 and 20,000."""

    params: Any = (list(NETWORKS), list(cases.PREDICTIONS))
    param_names = ("network", "task")

    def setup(self, name: str, task: str) -> None:
        [case] = [case for case in cases.predictions(NETWORKS[name]) if case.task == task]
        X, y = cases.data(case)
        self.calls = fastbp_.tasks[task](case, X, y, cases.initial(case)).run
        self.calls()

    def time_calls(self, name: str, task: str) -> None:
        """20 calls of 10,000 rows, 1000 calls of one row, 20,000 calls of one row from compiled code."""
        self.calls()
