"""TableModel: a network for tables with named columns of any kind."""

import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.callbacks import EarlyStopping
from fastbp.history import History
from fastbp.inputs.checks import positive_int
from fastbp.inputs.classes import class_weights, held_out
from fastbp.model import Model
from fastbp.scaling import Scaling
from fastbp.storage import files
from fastbp.table import columns, scores, targets
from fastbp.table.columns import Column, Found, Text
from fastbp.table.read import Format, read
from fastbp.table.targets import Targets

Array = NDArray[Any]

STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 60_000, 30, 500
"""Epochs by the data: about so many mini-batches, within these limits; early stopping usually ends sooner."""

PATIENCE = 20
NEEDED_TO_HOLD_OUT = 20  # rows

SPLIT_SEED = 0
"""The rows tested are the same in every run, so that runs can be compared."""


class TableModel:
    """A network trained on a table: pandas or polars frames, and files (CSV, TSV, Parquet; see docs/tables.md).

    hidden: the sizes of the hidden layers; None: by the number of rows, one layer of 64 below 2,000, else two of 128.
    `activation` is that of the hidden layers, the other arguments are `Model`'s. Inputs and numeric targets are
    standardized.

    After fit: `columns` (the inputs), `found` (what was found in each column), `targets`, `model`, `history`, `index`
    (the name of the column that counts the rows, or None).
    """

    model: Model
    columns: list[Column]
    found: list[Found]
    targets: Targets
    history: History
    tested: Any = None
    index: str | None = None

    def __init__(self, hidden: Sequence[int] | None = None, **arguments: Any) -> None:
        if {"sizes", "standardize"} & set(arguments):
            raise TypeError("TableModel sets sizes and standardize by the table; give the hidden layers' sizes")
        self.hidden = None if hidden is None else tuple(positive_int("hidden", size) for size in hidden)
        self._arguments = {"hidden" if name == "activation" else name: value for name, value in arguments.items()}

    def fit(
        self,
        table: Any,
        target: str | Sequence[str] | None = None,
        *,
        ignore: Collection[str] = (),
        keep: Collection[str] = (),
        keep_index: bool = False,
        task: str | None = None,
        form: Format | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: Any = None,
        class_weight: str | Mapping[Any, float] | None = None,
        validation_fraction: float = 0.15,
        test_size: float = 0.0,
        patience: int = PATIENCE,
        n_threads: int | None = None,
        progress: bool = False,
    ) -> "TableModel":
        """Learn columns and targets from the table, and train; return self.

        table: a frame or a path. target: one name or several; None: the last column. Rows with a missing target are
        not used. ignore: columns that are no inputs; keep, keep_index: columns that are inputs although they have many
        values or count the rows. task: "classification" or "regression"; None: by `targets.RULE`. class_weight:
        "balanced", or a weight for each label. validation_fraction: of the rows, of each class alike, held out for
        early stopping, which restores the best parameters; 0 for none. test_size: of the rows, held out from all of it;
        `tested` is then their frame.
        """
        frame = as_frame(table, form)
        names = [target] if isinstance(target, str) else list(target or frame.columns[-1:])
        _check_names(frame, [*names, *ignore, *keep])
        usable, self.found = columns.learn(frame, names, ignore, keep, keep_index)
        self.index = next((f.name for f in self.found if f.becomes.startswith(columns.COUNTED)), None)
        self.n_dropped = len(frame)
        frame = frame.drop_nulls(subset=names)
        self.n_dropped -= len(frame)
        if not len(frame):
            raise ValueError(f"no row has a value of the target {', '.join(names)}")
        self.targets = targets.learn(frame, names, task)
        if test_size:
            classes = self.targets.encode(frame) if self.targets.labels else None
            kept, tested = held_out(len(frame), classes, test_size, SPLIT_SEED)
            frame, self.tested = frame[kept.tolist()], frame[tested.tolist()]
        self.columns = [columns.learn_again(column, frame[column.name]) for column in usable]
        X, y = columns.encode(frame, self.columns), self.targets.encode(frame)
        classes = y if self.targets.labels else None
        train, test = np.arange(len(X)), np.arange(0)
        if validation_fraction and len(X) >= NEEDED_TO_HOLD_OUT:
            train, test = held_out(len(X), classes, validation_fraction, int(self._arguments.get("seed", 0)))
        self.model = self._model(X[train], y[train])
        weights = self._weights(class_weight, y[train])
        batch = batch_size or int(np.clip(len(train) // 50, 16, 128))
        self.history = self.model.fit(
            X[train],
            y[train],
            epochs=epochs or int(np.clip(STEPS * batch // len(train), FEWEST_EPOCHS, MOST_EPOCHS)),
            batch_size=batch,
            optimizer=optimizer,
            validation_data=(X[test], y[test]) if len(test) else None,
            sample_weight=weights,
            early_stopping=EarlyStopping(patience) if len(test) else None,
            n_threads=n_threads,
            progress=progress,
        )
        self.n_rows = len(train), len(test)
        self.baseline = np.bincount(y) / len(y) if self.targets.labels else y.mean(axis=0)
        return self

    def _model(self, X: Array, y: Array) -> Model:
        hidden = self.hidden if self.hidden is not None else (64,) if len(X) < 2000 else (128, 128)
        arguments = {"loss": "cross_entropy" if self.targets.labels else "squared_error"} | self._arguments
        sizes = (X.shape[1], *hidden, self.targets.n_outputs)
        return Model(sizes, standardize=self._scaling(X, y), **arguments)

    def _scaling(self, X: Array, y: Array) -> Scaling:
        """Means and scales of training rows; indicators stay 0 and 1."""
        scaled = np.concatenate([column.scaled for column in self.columns])
        mean, scale = _mean_and_scale(X)
        mean, scale = np.where(scaled, mean, 0.0), np.where(scaled, scale, 1.0)
        return Scaling(mean, scale) if self.targets.labels else Scaling(mean, scale, *_mean_and_scale(y))

    def _weights(self, class_weight: str | Mapping[Any, float] | None, y: Array) -> Array | None:
        if class_weight is None:
            return None
        if self.targets.labels is None:
            raise ValueError("class_weight needs targets that are classes, got numbers")
        if isinstance(class_weight, str):
            return class_weights(class_weight, y, self.targets.n_outputs)
        indices = {label: i for i, label in enumerate(self.targets.labels)}
        if unknown := [label for label in class_weight if label not in indices]:
            raise ValueError(f"class_weight must name classes of {list(indices)}, got {unknown}")
        by_index = {indices[label]: weight for label, weight in class_weight.items()}
        return class_weights(by_index, y, self.targets.n_outputs)

    # --- predictions ------------------------------------------------------------------------------------------------

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each input column, by which files are read."""
        return {column.name: column.kind for column in self.columns}

    def inputs(self, table: Any, form: Format | None = None) -> Any:
        """The table as a narwhals frame, files with the kinds of training."""
        return as_frame(table, form, self.kinds)

    def outputs(self, table: Any) -> Array:
        """The network's outputs, (n, n_outputs): probabilities or numbers."""
        return self.model.predict(columns.encode(self.inputs(table), self.columns))

    def predict(self, table: Any) -> Array:
        """The label of each row (n,), or numbers, (n,) of one target and (n, targets) of several.

        Columns are matched by name; their order and other columns do not matter.
        """
        outputs = self.outputs(table)
        if self.targets.labels is not None:
            return np.asarray(np.array(self.targets.labels)[outputs.argmax(axis=1)])
        return np.asarray(outputs[:, 0]) if len(self.targets.names) == 1 else outputs

    def predict_proba(self, table: Any) -> Array:
        """The probability of each label, (n, labels), in the order of `targets.labels`."""
        if self.targets.labels is None:
            raise ValueError("predict_proba needs classes; this model predicts numbers")
        return self.outputs(table)

    def evaluate(self, table: Any) -> dict[str, float]:
        """Scores of the predictions, and of the baseline that knows training's targets alone: see `scores`."""
        frame = self.inputs(table)
        _check_names(frame, self.targets.names)
        frame = frame.drop_nulls(subset=list(self.targets.names))
        y, outputs = self.targets.encode(frame), self.outputs(frame)
        of = scores.of_classes if self.targets.labels else scores.of_numbers
        return of(y, outputs, self.baseline)

    def unseen(self, table: Any) -> dict[str, int]:
        """By column, the number of cells with a value that training did not have, where there are any."""
        frame = self.inputs(table)
        counts = {c.name: c.unseen(frame[c.name]) for c in self.columns if isinstance(c, Text)}
        return {name: count for name, count in counts.items() if count}

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, columns, targets and scales to one safetensors file; see `Model.save`."""
        table = {
            "columns": [columns.to_data(column) for column in self.columns],
            "targets": self.targets.names,
            "labels": self.targets.labels,
            "baseline": self.baseline.tolist(),
            "index": self.index,
        }
        with tempfile.TemporaryDirectory() as folder:
            self.model.save(Path(folder) / "model")
            tensors, metadata = files.read(Path(folder) / "model")
        files.write(path, tensors, metadata | {"table": json.dumps(table)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TableModel":
        """The model that `save` wrote. ValueError for any other file."""
        _, metadata = files.read(path)
        if "table" not in metadata:
            raise ValueError(f"{os.fspath(path)} is a fastbp model without a table: use Model.load")
        loaded = cls()
        loaded.model = Model.load(path)
        try:
            table = json.loads(metadata["table"])
            labels = None if table["labels"] is None else tuple(table["labels"])
            loaded.columns = [columns.from_data(data) for data in table["columns"]]
            loaded.targets = Targets(tuple(table["targets"]), labels)
            loaded.index = table["index"]
            loaded.baseline = np.array(table["baseline"], dtype=np.float64)
            n_inputs = sum(len(column.scaled) for column in loaded.columns)
        except (KeyError, TypeError, ValueError) as error:
            raise files.not_a_model(path, error) from error
        if (n_inputs, loaded.targets.n_outputs) != (loaded.model.network.n_inputs, loaded.model.network.n_outputs):
            raise files.not_a_model(path, "its columns do not suit its network")
        return loaded


def as_frame(table: Any, form: Format | None = None, kinds: Mapping[str, str] | None = None) -> Any:
    """A narwhals frame of a pandas or polars frame or of a file."""
    if isinstance(table, str | os.PathLike):
        table = read(table, form, kinds).frame
    try:
        import narwhals as nw
    except ImportError:
        raise ImportError('tables need narwhals: pip install "fastbp[table]"') from None
    try:
        return nw.from_native(table, eager_only=True, pass_through=False)
    except TypeError:
        if isinstance(table, nw.DataFrame):
            return table
        raise TypeError(f"table must be a pandas or polars frame or a path, got {type(table).__name__}") from None


def _check_names(frame: Any, names: Sequence[str]) -> None:
    if absent := [name for name in names if name not in frame.columns]:
        raise ValueError(f"the table has no column {', '.join(map(repr, absent))}; it has {', '.join(frame.columns)}")


def _mean_and_scale(rows: Array) -> tuple[Array, Array]:
    """Of each column; the scale of a constant one is 1."""
    with np.errstate(over="ignore"):
        mean, scale = rows.mean(axis=0), rows.std(axis=0)
    return mean, np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
