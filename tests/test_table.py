"""TableModel: kinds of columns, targets, predictions by name, and its file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fastbp
from fastbp import TableModel
from fastbp.storage import files
from fastbp.table import columns, report, targets
from fastbp.table.model import as_frame

PENGUINS = Path(fastbp.__file__).parent / "data" / "penguins.csv"


@pytest.fixture(scope="module")
def penguins():
    return TableModel(seed=1).fit(PENGUINS, target="species", epochs=60)


def table(n=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x, "colour": rng.choice(["red", "blue"], n), "z": 3 * x + 100})


def test_penguins_are_told_apart(penguins):
    scores = penguins.evaluate(PENGUINS)
    assert scores["accuracy"] > 0.97 > 0.5 > scores["baseline_accuracy"]
    assert scores["log_loss"] < scores["baseline_log_loss"]


@pytest.mark.parametrize("read", [pd.read_csv, lambda path: pl.read_csv(path, null_values="NA")])
def test_frames_and_files_give_the_same_predictions(penguins, read):
    np.testing.assert_array_equal(penguins.predict_proba(read(PENGUINS)), penguins.predict_proba(PENGUINS))


def test_columns_are_matched_by_name(penguins):
    frame = pd.read_csv(PENGUINS)
    other = frame[frame.columns[::-1]].assign(extra=1)
    np.testing.assert_array_equal(penguins.predict(other), penguins.predict(frame))
    with pytest.raises(ValueError, match="must have the columns 'sex'"):
        penguins.predict(frame.drop(columns="sex"))


def test_a_loaded_model_is_the_same(penguins, tmp_path):
    penguins.save(tmp_path / "m")
    loaded = TableModel.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_proba(PENGUINS), penguins.predict_proba(PENGUINS))
    assert loaded.evaluate(PENGUINS) == penguins.evaluate(PENGUINS)
    assert (loaded.columns, loaded.targets) == (penguins.columns, penguins.targets)


def test_a_file_with_other_columns_than_its_network_is_refused(penguins, tmp_path):
    penguins.save(tmp_path / "m")
    tensors, metadata = files.read(tmp_path / "m")
    data = json.loads(metadata["table"])
    files.write(tmp_path / "m", tensors, metadata | {"table": json.dumps(data | {"columns": data["columns"][1:]})})
    with pytest.raises(ValueError, match="do not suit its network"):
        TableModel.load(tmp_path / "m")
    penguins.model.save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"use Model\.load"):
        TableModel.load(tmp_path / "m")


def test_numbers_are_predicted_in_their_units():
    frame = table()
    model = TableModel((16,)).fit(frame, epochs=60)
    assert model.targets == targets.Targets(("z",), None)
    scores = model.evaluate(frame)
    assert scores["r2"] > 0.98
    assert scores["baseline_mae"] == pytest.approx((frame.z - frame.z.mean()).abs().mean())
    with pytest.raises(ValueError, match="needs classes"):
        model.predict_proba(frame)


def test_several_targets_are_regression():
    frame = table().assign(w=lambda f: -f.x)
    model = TableModel((16,)).fit(frame, target=["z", "w"], epochs=60)
    assert model.predict(frame).shape == (200, 2)
    assert model.evaluate(frame)["r2"] > 0.95


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([10115, 75001] * 20, (10115, 75001)),
        ([-1, 1] * 20, (-1, 1)),
        ([1.0, 2.0] * 20, (1, 2)),
        ([True, False] * 20, (False, True)),
        (["b", "a"] * 20, ("a", "b")),
        (list(range(40)), None),
        ([0.5, 1.5] * 20, None),
    ],
)
def test_the_rule_of_classes(values, labels):
    assert targets.learn(as_frame(pd.DataFrame({"y": values})), ["y"], None).labels == labels


def test_a_task_overrides_the_rule():
    frame = as_frame(pd.DataFrame({"y": [-1, 1] * 20}))
    assert targets.learn(frame, ["y"], "regression").labels is None
    with pytest.raises(ValueError, match="must hold numbers for regression"):
        targets.learn(as_frame(pd.DataFrame({"y": ["a", "b"]})), ["y"], "regression")


def test_columns_that_say_nothing_are_left_out_and_named():
    frame = table().assign(index=range(200), same=1, note=[f"text {i}" for i in range(200)], none=None)
    model = TableModel((4,)).fit(frame, target="z", ignore=["colour"], epochs=1)
    assert [column.name for column in model.columns] == ["x"]
    became = {found.name: found.becomes for found in model.found}
    assert became["index"].startswith("left out: the row number")
    assert became["same"] == "left out: constant"
    assert became["note"].startswith("left out: 200 distinct values")
    assert became["none"] == "left out: all cells are missing"
    kept = TableModel((4,)).fit(frame, target="z", keep=["note"], keep_index=True, epochs=1)
    assert {"index", "note"} <= set(kept.kinds)


def test_missing_targets_are_dropped_and_missing_inputs_filled():
    frame = table()
    frame.loc[:9, "z"] = None
    frame.loc[20:29, "x"] = None
    model = TableModel((4,)).fit(frame, epochs=1)
    assert "; 10 without a target are not used" in report.of_training(model)[1]
    x = model.columns[0]
    assert x.median == pytest.approx(frame.x[10:].median())
    assert x.encode(as_frame(frame)["x"])[[20, 40]].tolist() == [[x.median, 1], [frame.x[40], 0]]


def test_unseen_values_are_all_zero_and_counted():
    frame = table()
    model = TableModel((4,)).fit(frame, epochs=1)
    other = frame.assign(colour=["green"] * 3 + ["red"] * 197)
    assert model.unseen(other) == {"colour": 3}
    assert not model.columns[1].encode(as_frame(other)["colour"])[:3].any()


def test_dates_become_days_year_and_week():
    frame = as_frame(pl.DataFrame({"d": ["2024-01-01", "2024-01-08", None]}).with_columns(pl.col("d").str.to_date()))
    date = columns.Date.learn(frame["d"])
    rows = date.encode(frame["d"])
    assert rows.shape == (3, 6)
    assert rows[1, 0] - rows[0, 0] == 7
    np.testing.assert_allclose(rows[0, 3:5], rows[1, 3:5], atol=1e-9)
    assert rows[:, 5].tolist() == [0, 0, 1]


def test_class_weights_by_label():
    frame = table().assign(z=lambda f: np.where(f.x > 1, "rare", "often"))
    for weight in ("balanced", {"rare": 5}):
        TableModel((4,)).fit(frame, epochs=1, class_weight=weight)
    with pytest.raises(ValueError, match="must name classes"):
        TableModel((4,)).fit(frame, epochs=1, class_weight={"other": 5})


def test_infinite_numbers_are_refused():
    frame = table()
    frame.loc[3, "x"] = np.inf
    with pytest.raises(columns.BadCells, match=r"finite numbers, got inf in row 3 \(1 bad\)"):
        TableModel().fit(frame)


def test_importing_fastbp_does_not_import_libraries_of_frames():
    code = "import sys, fastbp.cli; print({'polars', 'narwhals', 'pandas'} & set(sys.modules))"
    env = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout == b"set()\n"
