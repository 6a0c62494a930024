"""Inputs of every kind and size train bit-identically to the dense array, in bounded memory.

Sizes from which inputs are read in pieces are set to some hundred bytes here, except in the last test.
"""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp import Model
from fastbp.inputs import sources
from fastbp.inputs.arrays import as_inputs
from fastbp.inputs.sources import Columns, InMemory, Mapped, Source, Sparse

MB = 1 << 20
MOST = 200 * MB
ROWS, COLUMNS = 137, 12
NUMBERS = np.random.default_rng(0).integers(0, 9, (ROWS, COLUMNS))
NUMBERS[NUMBERS > 4] = 0
CLASSES = NUMBERS.sum(axis=1) % 3
WEIGHTS = 1.0 + np.arange(ROWS) % 4


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows a piece, a few mini-batches a buffer."""
    for name, size in (("PIECE", 300), ("CACHED", 200), ("BUFFER", 2000), ("COPY", 2000), ("MAPPED", 300)):
        monkeypatch.setattr(sources, f"{name}_BYTES", size)
    monkeypatch.setattr(sources, "AROUND", 100)


# --- the kinds of inputs: each makes one from whole numbers, in a file of the given name if it needs one -----------


def mapped(dtype: str = "f4", mode: str = "r", order: Any = "C") -> Callable[[Any, Path], Any]:
    def make(numbers: Any, path: Path) -> Any:
        memory = np.memmap(path, dtype, "w+", shape=numbers.shape, order=order)
        memory[...] = numbers
        memory.flush()
        return np.memmap(path, dtype, mode, shape=numbers.shape, order=order)  # type: ignore[call-overload]

    return make


def saved(numbers: Any, path: Path) -> Any:
    np.save(path.with_suffix(".npy"), numbers.astype("f2"))
    return np.load(path.with_suffix(".npy"), mmap_mode="r")


def strided(numbers: Any, path: Path) -> Any:
    return np.repeat(np.repeat(numbers.astype("f4"), 2, axis=0), 3, axis=1)[::2, ::3]


def sparse(form: str, dtype: str = "f8") -> Callable[[Any, Path], Any]:
    return lambda numbers, path: getattr(pytest.importorskip("scipy.sparse"), form)(numbers.astype(dtype))


def with_duplicates(numbers: Any, path: Path) -> Any:
    matrix = pytest.importorskip("scipy.sparse").csr_matrix(numbers.astype("f4"))
    halves = (np.repeat(matrix.data / 2, 2), np.repeat(matrix.indices, 2), 2 * matrix.indptr)
    return type(matrix)(halves, shape=matrix.shape)


DTYPES = ("f4", "f8", "i8", "u1", "?")


def pandas_mixed(numbers: Any, path: Path) -> Any:
    pandas = pytest.importorskip("pandas")
    columns = {f"x{k}": numbers[:, k].astype(DTYPES[k % 4]) for k in range(numbers.shape[1])}
    return pandas.DataFrame(columns, index=np.arange(len(numbers))[::-1])


def pandas_nullable(numbers: Any, path: Path) -> Any:
    frame = pytest.importorskip("pandas").DataFrame(numbers)
    frame.columns = ["same name"] * numbers.shape[1]
    return frame.astype("Int16")


def polars_mixed(numbers: Any, path: Path) -> Any:
    columns = {f"x{k}": numbers[:, k].astype(DTYPES[k % 4]) for k in range(numbers.shape[1])}
    return pytest.importorskip("polars").DataFrame(columns)


KINDS: dict[str, tuple[type[Source], Callable[[Any, Path], Any]]] = {
    "memmap": (Mapped, mapped()),
    "writable memmap": (Mapped, mapped("f8", "r+")),
    "memmap of integers": (Mapped, mapped(">i2")),
    "memmap by columns": (Mapped, mapped(order="F")),
    "part of a memmap": (Mapped, lambda numbers, path: mapped()(np.pad(numbers, 9), path)[9:-9, 9:-9]),
    "array over a memmap": (Mapped, lambda numbers, path: np.asarray(mapped()(numbers, path))[:]),
    "np.load with mmap_mode": (Mapped, saved),
    "array of longdouble": (InMemory, lambda numbers, path: numbers.astype("g")),
    "array of int64": (InMemory, lambda numbers, path: numbers),
    "strided array": (InMemory, strided),
    "array by columns": (InMemory, lambda numbers, path: np.asfortranarray(numbers.astype("f4"))),
    "nested list": (InMemory, lambda numbers, path: numbers.tolist()),
    "CSR matrix": (Sparse, sparse("csr_matrix")),
    "CSR array of integers": (Sparse, sparse("csr_array", "i4")),
    "CSR with duplicates": (Sparse, with_duplicates),
    "CSC": (Sparse, sparse("csc_matrix", "f4")),
    "COO": (Sparse, sparse("coo_array")),
    "pandas frame": (Columns, lambda numbers, path: pytest.importorskip("pandas").DataFrame(numbers.astype("f8"))),
    "pandas frame of several dtypes": (Columns, pandas_mixed),
    "pandas frame of a nullable dtype": (Columns, pandas_nullable),
    "polars frame of several dtypes": (Columns, polars_mixed),
}  # fmt: skip


SIZES = (COLUMNS, 8, 3)


def results(
    X: Any, shuffle: bool, n_threads: int, sizes: tuple[int, ...] = SIZES, dtype: str = "f4", dropout: float = 0
) -> list[bytes]:
    """All that a model computes from X, as bits."""
    y, w = CLASSES[: len(NUMBERS)], WEIGHTS
    model = Model(sizes, output="softmax", dtype=dtype, dropout=dropout)
    history = model.fit(
        X, y, epochs=3, batch_size=10, sample_weight=w, shuffle=shuffle, n_threads=n_threads, validation_data=(X, y, w)
    )
    plain = model.fit(X, y, epochs=2, batch_size=ROWS, shuffle=shuffle, n_threads=n_threads)  # a batch of all rows
    values = [model.parameters, history.cost, history.validation_cost, plain.cost, model.predict(X)]
    values += [model.evaluate(X, y, w)["cost"], model.value_and_gradient(as_array(X, model), y, w)[1]]
    return [np.asarray(value).tobytes() for value in values]


def as_array(X: Any, model: Model) -> Any:
    """For methods that refuse large sparse inputs."""
    return X.toarray() if hasattr(X, "toarray") else X


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("name", KINDS)
def test_all_kinds_of_inputs_give_the_bits_of_the_dense_array(name: str, tmp_path: Path) -> None:
    kind, make = KINDS[name]
    for dtype in ("float32", "float64"):
        X = make(NUMBERS, tmp_path / f"{dtype} X")
        source = as_inputs(X, COLUMNS, dtype)
        assert type(source) is kind
        assert source.shape == NUMBERS.shape
        some = np.array([5, 136, 0, 7, 7])
        assert source.dense(some, dtype).tobytes() == NUMBERS[some].astype(dtype).tobytes()
        part = source[some]
        assert part.dense(np.array([1, 1, 4]), dtype).tobytes() == NUMBERS[[136, 136, 7]].astype(dtype).tobytes()
        assert part.dense(range(3), dtype).tobytes() == NUMBERS[[5, 136, 0]].astype(dtype).tobytes()
        for shuffle, n_threads in ((True, 1), (False, 2)):
            expected = results(NUMBERS.astype(dtype), shuffle, n_threads, dtype=dtype)
            assert results(X, shuffle, n_threads, dtype=dtype) == expected


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("name", ["memmap", "CSR matrix", "polars frame of several dtypes"])
def test_it_does_not_matter_to_dropout_nor_to_wide_first_layers_how_rows_are_read(name: str, tmp_path: Path) -> None:
    numbers = np.tile(NUMBERS, (1, 60))
    options: dict[str, Any] = {"sizes": (numbers.shape[1], 100, 3), "dropout": 0.3}
    X = KINDS[name][1](numbers, tmp_path / "X")
    for shuffle in (True, False):
        assert results(X, shuffle, 2, **options) == results(numbers.astype("f4"), shuffle, 1, **options)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("name", ["memmap", "CSR matrix", "polars frame of several dtypes"])
def test_rows_can_be_held_out_weighted_and_resumed_from(name: str, tmp_path: Path) -> None:
    X, options = KINDS[name][1](NUMBERS, tmp_path / "X"), {"validation_fraction": 0.2, "class_weight": "balanced"}

    def trained(X: Any, interrupt: bool) -> Any:
        model, path = Model(SIZES, output="softmax", seed=4), tmp_path / f"{interrupt}.safetensors"

        def stop(state: Any) -> None:
            if interrupt and state.epoch == 2:
                raise KeyboardInterrupt

        more: dict[str, Any] = {
            "callbacks": [stop],
            "metrics": ["accuracy"],
            "epochs": 4,
            "checkpoint": path,
            **options,
        }
        try:
            history = model.fit(X, CLASSES, **more)
        except KeyboardInterrupt:
            interrupt = False
            model = Model.resume(path)
            history = model.fit(X, CLASSES, callbacks=[stop], metrics=["accuracy"])
        return model.parameters.tobytes(), history.cost.tolist(), history.metrics["accuracy"].tolist()

    expected = trained(NUMBERS, interrupt=False)
    assert trained(X, interrupt=False) == expected
    assert trained(X, interrupt=True) == expected


def test_small_inputs_are_read_at_once(tmp_path: Path) -> None:
    for _, make in KINDS.values():
        inputs = as_inputs(make(NUMBERS, tmp_path / "X"), COLUMNS, "float32")
        assert isinstance(inputs, np.ndarray)
        assert (inputs == NUMBERS).all()
    memory = mapped()(NUMBERS, tmp_path / "Y")
    assert np.shares_memory(as_inputs(memory, COLUMNS, "float32"), memory)


@pytest.mark.usefixtures("in_pieces")
def test_what_was_written_to_a_memmap_counts_even_if_its_file_has_not_got_it(tmp_path: Path) -> None:
    for mode in ("r+", "c"):  # "c": the file is never to get it
        memory = mapped(mode=mode)(NUMBERS, tmp_path / mode)
        memory[:] += 1
        before = memory.copy()
        assert results(memory, True, 1) == results(NUMBERS.astype("f4") + 1, True, 1)
        assert (memory == before).all()


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("name", ["memmap", "array of longdouble", "CSR matrix", "pandas frame", "polars"])
def test_values_that_are_not_finite_are_found_in_any_piece(name: str, tmp_path: Path) -> None:
    make = KINDS["pandas frame"][1] if name == "polars" else KINDS[name][1]
    cases = [(np.nan, "be finite, got nan"), (np.inf, "be finite, got inf"), (1e39, r"fit in float32, got 1e\+39")]
    for value, expected in cases[: 2 if name == "memmap" else 3]:
        X = np.array(make(NUMBERS, tmp_path / "X"), "f8") if name in ("memmap", "polars") else make(NUMBERS, tmp_path)
        if name == "pandas frame":
            X.iloc[130, 7] = value
        else:
            X[130, 7] = value
        if name == "memmap":
            X = mapped()(X, tmp_path / "Y")
        if name == "polars":
            X = pytest.importorskip("polars").DataFrame(X)
        for refuse in (lambda: Model((COLUMNS, 3)).fit(X, CLASSES), lambda: Model((COLUMNS, 3)).predict(X)):  # noqa: B023
            with pytest.raises(ValueError, match=f"^X must {expected} in row 130, column 7$"):
                refuse()


def test_frames_of_other_things_than_numbers_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    model = Model((2, 1))
    for column in (
        ["a", "b"],
        pandas.Categorical(["a", "b"]),
        [None, "a"],
        pandas.to_datetime(["2001", "2002"]),
        [1j, 2],
    ):
        X = pandas.DataFrame({"good": [1, 2], "bad one": column})
        with pytest.raises(TypeError, match=r"^X must hold real numbers, got dtype .* in column 'bad one'$"):
            model.predict(X)
        with pytest.raises(TypeError, match=r"^y must hold real numbers, got dtype .* in column 'bad one'$"):
            model.fit(np.zeros((2, 2)), X["bad one"])
    for column in (pandas.array([1, None], dtype="Int64"), pandas.array([True, None], dtype="boolean"), [1.0, None]):
        with pytest.raises(ValueError, match=r"^X must be finite, got nan in row 1, column 0$"):
            model.predict(pandas.DataFrame({"missing": column, "good": [1, 2]}))
        with pytest.raises(ValueError, match=r"^y must be finite, got nan in row 1, column 0$"):
            model.fit(np.zeros((2, 2)), pandas.Series(column))
    with pytest.raises(ValueError, match=r"^X must have 2 columns .* got shape \(2, 1\)"):
        model.predict(X[["good"]])
    with pytest.raises(ValueError, match=r"^X must be 2-D, .* got shape \(2,\)"):
        model.predict(X["good"])


def test_polars_frames_of_other_things_than_numbers_are_refused() -> None:
    polars = pytest.importorskip("polars")
    model = Model((2, 1))
    for column in (["a", "b"], [None, "a"], [[1], [2]]):
        with pytest.raises(TypeError, match=r"^X must hold real numbers, got dtype .* in column 'bad'$"):
            model.predict(polars.DataFrame({"good": [1, 2], "bad": column}))
    for column in ([1, None], [1.0, None], [1.0, np.nan]):
        with pytest.raises(ValueError, match=r"^X must be finite, got nan in row 1, column 0$"):
            model.predict(polars.DataFrame({"missing": column, "good": [1, 2]}))


def test_sparse_matrices_of_other_shapes_and_numbers_are_refused() -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    model = Model((COLUMNS, 1))
    with pytest.raises(TypeError, match=r"^X must hold real numbers, got csr_matrix of dtype complex128"):
        model.predict(scipy_sparse.csr_matrix(NUMBERS * 1j))
    with pytest.raises(ValueError, match=r"^X must be 2-D, one row per example, got shape \(12,\)"):
        model.predict(scipy_sparse.coo_array(NUMBERS[0]))
    with pytest.raises(ValueError, match=r"^X must have 12 columns \(the network's inputs\), got shape \(137, 6\)"):
        model.predict(scipy_sparse.csr_matrix(NUMBERS[:, :6]))


def test_what_needs_all_rows_at_once_takes_sparse_inputs_if_they_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    X = sparse("csr_matrix")(NUMBERS, Path())
    model = Model((COLUMNS, 4, 3), output="softmax")
    calls: dict[str, Callable[[Any], Any]] = {
        "forward": lambda X: model.forward(X).a[-1],
        "backward": lambda X: model.backward(X, CLASSES).dz[0],
        "value_and_gradient": lambda X: model.value_and_gradient(X, CLASSES)[1],
    }
    for call in calls.values():
        assert call(X).tobytes() == call(NUMBERS).tobytes()
    monkeypatch.setattr(sources, "BUFFER_BYTES", 1000)
    for call in calls.values():
        with pytest.raises(ValueError, match=r"^X must be dense here, or sparse and at most .* use fewer rows$"):
            call(X)


# --- targets and weights --------------------------------------------------------------------------------------------


def test_targets_and_weights_may_be_series_and_frames() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = results(NUMBERS, True, 1)
    for series in (pandas.Series, polars.Series, lambda values: pandas.Series(values).astype("Float64")):
        model = Model((COLUMNS, 8, 3), output="softmax")
        y, w = series(CLASSES), series(WEIGHTS)
        model.fit(NUMBERS, y, epochs=3, batch_size=10, sample_weight=w, validation_data=(NUMBERS, y, w), n_threads=1)
        model.fit(NUMBERS, y, epochs=2, batch_size=ROWS, n_threads=1)
        assert model.parameters.tobytes() == expected[0]
    targets = NUMBERS[:, :2] / 4
    for frame in (pandas.DataFrame(targets), polars.DataFrame(targets)):
        one, other = Model((COLUMNS, 2)), Model((COLUMNS, 2))
        one.fit(NUMBERS, targets, epochs=2)
        other.fit(NUMBERS, frame, epochs=2)
        assert one.parameters.tobytes() == other.parameters.tobytes()


# --- memory ---------------------------------------------------------------------------------------------------------

PROGRAM = """
    import json, sys
    import numpy as np

    def memory(name):
        with open("/proc/self/status") as file:
            (line,) = (line for line in file if line.startswith(name))
        return int(line.split()[1]) * 1024

    rows, columns, path = json.loads(sys.argv[1])
    if path:
        with open(path, "wb") as file:
            file.truncate(8 * rows * columns)  # holes
        X = np.memmap(path, "f8", "r+", shape=(rows, columns))
        X[:: rows // 100] = 1
    else:
        import scipy.sparse
        ones = np.ones(rows, "f4"), np.arange(rows) % columns, np.arange(rows + 1)
        X = scipy.sparse.csr_array(ones, shape=(rows, columns))
    y = np.zeros((rows, 1), "f4")
    y[:: rows // 100] = 1
    import numba  # what fastbp needs is not what its fit adds
    before = memory("VmRSS")

    from fastbp import Model
    model = Model((columns, 4, 1), seed=1)
    history = model.fit(X, y, epochs=1, batch_size=256, optimizer="sgd")
    cost = model.evaluate(X[: rows // 8], y[: rows // 8])["cost"]
    print(json.dumps({"added": memory("VmHWM") - before, "left": memory("VmRSS") - before, "cost": cost}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.long
@pytest.mark.parametrize("kind", ["memmap of 4 GB", "sparse matrix of 512 MB"])
def test_fit_and_evaluate_of_large_inputs_stay_within_200_MB(kind: str, tmp_path: Path) -> None:
    """The peak of what fastbp adds to a process that has numba, scipy and the matrix."""
    if kind == "memmap of 4 GB":
        arguments = (1 << 17, 1 << 12, str(tmp_path / "X"))
    else:
        pytest.importorskip("scipy")
        arguments = (1 << 15, 1 << 12, "")
    path = [str(Path(fastbp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    for rows, columns, file in ((1 << 10, *arguments[1:]), arguments):  # at first few, to fill the cache on disk
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), json.dumps((rows, columns, file))],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        (tmp_path / "X").unlink(missing_ok=True)
        assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    print(kind, {name: round(value / MB) for name, value in report.items() if name != "cost"})
    assert 0 < report["cost"] < 1
    assert 0 < report["added"] < MOST
