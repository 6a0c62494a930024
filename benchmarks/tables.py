"""TableModel's defaults beside scikit-learn's pipelines on real tables: `python -m benchmarks.tables [splits] [names]`.

Paired splits of 75 to 25 %, stratified for classes. Score: accuracy, or R². Seconds: of fit, after one fit that
compiles. The pipelines impute, encode and standardize (ColumnTransformer), then train MLPClassifier or MLPRegressor
with their defaults but 1,000 epochs, or HistGradientBoosting. Their numeric targets are not standardized, which is why
MLPRegressor fails on targets of thousands.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastbp
from fastbp.table.model import TableModel

SPLITS = 20


def of_sklearn(load: Callable[..., Any]) -> tuple[pd.DataFrame, list[str]]:
    bunch = load(as_frame=True)
    return bunch.frame, list(pd.DataFrame(bunch.target).columns)


def penguins() -> tuple[pd.DataFrame, list[str]]:
    return pd.read_csv(str(files(fastbp).joinpath("data", "penguins.csv"))), ["species"]


def penguins_mass() -> tuple[pd.DataFrame, list[str]]:
    frame, _ = penguins()
    return frame.dropna(subset=["body_mass_g"]).reset_index(drop=True), ["body_mass_g"]


def mixed(rows: int = 5000) -> tuple[pd.DataFrame, list[str]]:
    """Synthetic incomes: numbers, text and 5 % missing cells."""
    rng = np.random.default_rng(0)
    age, hours = rng.uniform(18, 80, rows), rng.normal(40, 12, rows)
    job, school = rng.integers(0, 12, rows), rng.integers(0, 6, rows)
    logit = 0.08 * (hours - 40) - ((age - 50) / 15) ** 2 + 0.6 * school + np.sin(job) - 1 + rng.logistic(0, 0.5, rows)
    frame = pd.DataFrame({"age": age, "hours": hours, "job": job, "school": school})
    frame = frame.assign(job=frame.job.map("job {}".format), school=frame.school.map("school {}".format))
    frame = frame.mask(rng.random(frame.shape) < 0.05)
    return frame.assign(rich=np.where(logit > 0, "yes", "no")), ["rich"]


TABLES: dict[str, Callable[[], tuple[pd.DataFrame, list[str]]]] = {
    "penguins": penguins,
    "penguins' mass": penguins_mass,
    "iris": lambda: of_sklearn(datasets.load_iris),
    "wine": lambda: of_sklearn(datasets.load_wine),
    "breast cancer": lambda: of_sklearn(datasets.load_breast_cancer),
    "digits": lambda: of_sklearn(datasets.load_digits),
    "diabetes": lambda: of_sklearn(datasets.load_diabetes),
    "linnerud": lambda: of_sklearn(datasets.load_linnerud),
    "mixed 5,000": mixed,
    "mixed 50,000": lambda: mixed(50_000),
}


def pipeline(frame: pd.DataFrame, network: bool, classes: bool, seed: int, several: bool) -> Any:
    numeric = frame.select_dtypes("number").columns
    text = frame.columns.difference(numeric)
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numeric),
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
        ]
    )
    if network:
        return make_pipeline(encode, (MLPClassifier if classes else MLPRegressor)(max_iter=1000, random_state=seed))
    trees = (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(random_state=seed)
    return make_pipeline(encode, MultiOutputRegressor(trees) if several else trees)


def scores_of(name: str, splits: int) -> Iterator[tuple[str, float, float]]:
    """(library, score, seconds) of each split."""
    frame, targets = TABLES[name]()
    model = TableModel().fit(frame, targets, epochs=1)
    classes = model.targets.labels is not None
    score = "accuracy" if classes else "r2"
    inputs = frame.drop(columns=targets)
    for split in range(splits):
        stratify = frame[targets[0]] if classes else None
        train, test = train_test_split(np.arange(len(frame)), random_state=split, stratify=stratify, test_size=0.25)
        started = time.perf_counter()
        model = TableModel(seed=split).fit(frame.iloc[train], targets)
        yield "fastbp", model.evaluate(frame.iloc[test])[score], time.perf_counter() - started
        y = frame[targets if len(targets) > 1 else targets[0]]
        for library, network in (("MLP", True), ("trees", False)):
            started = time.perf_counter()
            other = pipeline(inputs, network, classes, split, len(targets) > 1).fit(inputs.iloc[train], y.iloc[train])
            yield library, other.score(inputs.iloc[test], y.iloc[test]), time.perf_counter() - started


def main(splits: int, names: list[str]) -> None:
    print(f"{'table':15} {'fastbp':>8} {'MLP':>8} {'trees':>8}   fastbp - MLP      seconds: fastbp, MLP, trees")
    for name in names or TABLES:
        found: dict[str, list[tuple[float, float]]] = {"fastbp": [], "MLP": [], "trees": []}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn on epochs and on one-hot columns
            for library, score, seconds in scores_of(name, splits):
                found[library].append((score, seconds))
        means = {library: np.mean(values, axis=0) for library, values in found.items()}
        differences = np.array([a[0] - b[0] for a, b in zip(found["fastbp"], found["MLP"], strict=True)])
        error = differences.std(ddof=1) / np.sqrt(splits) if splits > 1 else float("nan")
        row = "".join(f" {mean[0]:8.4f}" for mean in means.values())
        times = "  ".join(f"{mean[1]:.2f}" for mean in means.values())
        print(f"{name:15}{row}   {differences.mean():+.4f} ± {error:.4f}   {times}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SPLITS, sys.argv[2:])
