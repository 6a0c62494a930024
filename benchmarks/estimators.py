"""fastbp.sklearn beside scikit-learn's own estimators: `python -m benchmarks.estimators` (extra: bench).

Three tables: how well both learn real data with default parameters, 5 seeds x 5 folds; how long a fit of each takes,
in interleaved rounds; and a grid search with one and two workers. Run it on an idle machine.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn import neural_network as theirs
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp.sklearn as ours
from fastbp.bench.measure import SETTLE

FOLDS = 5
REAL = {
    "digits": (datasets.load_digits, "MLPClassifier"),
    "breast_cancer": (datasets.load_breast_cancer, "MLPClassifier"),
    "wine": (datasets.load_wine, "MLPClassifier"),
    "iris": (datasets.load_iris, "MLPClassifier"),
    "diabetes": (datasets.load_diabetes, "MLPRegressor"),
}


def digits() -> tuple[Any, Any, str]:
    """1,797 images of 64 pixels from 0 to 1."""
    X, y = datasets.load_digits(return_X_y=True)
    return X / 16, y, "MLPClassifier"


def two_classes() -> tuple[Any, Any, str]:
    """20,000 x 30."""
    X, y = datasets.make_classification(20_000, 30, n_informative=10, random_state=0)
    return X, y, "MLPClassifier"


def one_number() -> tuple[Any, Any, str]:
    """20,000 x 20, with standardised targets."""
    X, y = datasets.make_regression(20_000, 20, noise=10.0, random_state=0)
    return X, (y - y.mean()) / y.std(), "MLPRegressor"


SPEED: dict[str, Callable[[], tuple[Any, Any, str]]] = {
    "digits": digits,
    "20,000 x 30, two classes": two_classes,
    "20,000 x 20 to 1": one_number,
}


def seconds(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds of the call and its result; after a pause, as idle threads of a library spin for a while."""
    time.sleep(SETTLE)
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def cross_validated(estimators: list[Any], X: Any, y: Any) -> Any:
    """The scores of all on all folds."""
    return np.concatenate([cross_val_score(estimator, X, y, cv=FOLDS) for estimator in estimators])


def quality(seeds: int) -> None:
    """Scores of both on the same folds of standardised real data."""
    print(f"mean score of {seeds} seeds x {FOLDS} folds, default parameters, standardised inputs\n")
    print("| data | scikit-learn | fastbp | difference | standard error | seconds | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, (load, kind) in REAL.items():
        X, y = load(return_X_y=True)
        scores, spent = {}, {}
        for module in (theirs, ours):
            estimators = [make_pipeline(StandardScaler(), getattr(module, kind)(random_state=s)) for s in range(seeds)]
            spent[module], scores[module] = seconds(cross_validated, estimators, X, y)
        error = scores[theirs].std(ddof=1) / np.sqrt(seeds * FOLDS)
        a, b = scores[theirs].mean(), scores[ours].mean()
        print(f"| {name} | {a:.4f} | {b:.4f} | {b - a:+.4f} | {error:.4f} | {spent[theirs]:.1f} | {spent[ours]:.1f} |")


def speed(rounds: int, max_iter: int) -> None:
    """Seconds of a fit of each, in turn; the ratio is the median of the rounds'."""
    print(f"\nseconds of a fit, default parameters but max_iter={max_iter}, median of {rounds} rounds\n")
    print("| data | solver | scikit-learn | fastbp | times faster | epochs | loss |")
    print("|---|---|---|---|---|---|---|")
    for solver in ("adam", "lbfgs"):
        for name, make in SPEED.items():
            X, y, kind = make()
            parameters = {"solver": solver, "max_iter": max_iter, "random_state": 0}
            getattr(ours, kind)(**parameters | {"max_iter": 1}).fit(X, y)  # compiles
            times, fitted = [], [None, None]
            for _ in range(rounds):
                both = [seconds(getattr(module, kind)(**parameters).fit, X, y) for module in (theirs, ours)]
                times.append([spent for spent, _ in both])
                fitted = [estimator for _, estimator in both]
            a, b = np.median(times, axis=0)
            ratio = np.median([t / o for t, o in times])
            epochs = " and ".join(str(f.n_iter_) for f in fitted)
            losses = " and ".join(f"{f.loss_:.4g}" for f in fitted)
            print(f"| {name} | {solver} | {a:.2f} | {b:.2f} | {ratio:.1f} | {epochs} | {losses} |")


def search(max_iter: int) -> None:
    """Seconds of a GridSearchCV over eight fits and a last one."""
    X, y, _ = digits()
    print("\nseconds of a grid search on digits\n\n| n_jobs | scikit-learn | fastbp |\n|---|---|---|")
    for jobs in (1, 2):
        spent = []
        for module in (theirs, ours):
            grid = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2]}
            estimator = module.MLPClassifier(max_iter=max_iter, random_state=0)
            spent.append(seconds(GridSearchCV(estimator, grid, cv=2, n_jobs=jobs).fit, X, y)[0])
        print(f"| {jobs} | {spent[0]:.1f} | {spent[1]:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__.split("\n\n")[0])
    parser.add_argument("tables", nargs="*", choices=["quality", "speed", "search", []], help="all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-iter", type=int, default=200, help="of the speed and search tables")
    options = parser.parse_args()
    tables = options.tables or ["quality", "speed", "search"]
    warnings.simplefilter("ignore")
    if "quality" in tables:
        quality(options.seeds)
    if "speed" in tables:
        speed(options.rounds, options.max_iter)
    if "search" in tables:
        search(options.max_iter)


if __name__ == "__main__":
    main()
