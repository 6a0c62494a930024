"""The digits, the split, and tables of one's own."""

import io
import os
import zipfile

import numpy as np
import pytest

from fastbp.data import load_digits, read_examples, read_inputs, stratified_split

# ------------------------------------------------------------------------------------------------- digits


def test_digits_are_the_uci_test_set():
    X, y = load_digits()
    assert X.shape == (1797, 64)
    assert X.dtype == np.float32
    assert y.shape == (1797,)
    assert y.dtype == np.int64
    assert (X.min(), X.max()) == (0, 16)
    assert np.array_equal(X, np.round(X))
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert y[:10].tolist() == list(range(10))
    assert X[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]  # the first line of the repository's file


def test_digits_are_the_callers_own():
    X, y = load_digits()
    X[:], y[:] = -1, -1
    X, y = load_digits()
    assert X.min() == 0
    assert y.min() == 0


# -------------------------------------------------------------------------------------------------- split


@pytest.mark.parametrize("test_size", [0.1, 0.2, 0.5])
def test_split_shares_out_every_class(test_size):
    y = load_digits()[1]
    train, test = stratified_split(y, test_size, seed=3)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
    assert np.array_equal(train, np.sort(train))
    expected = [round(m * test_size) for m in np.bincount(y)]
    assert np.bincount(y[test]).tolist() == expected


def test_split_is_random_but_follows_the_seed():
    y = load_digits()[1]
    first, again, other = (stratified_split(y, 0.2, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.std(first) == pytest.approx(len(y) / np.sqrt(12), rel=0.2)  # from everywhere


def test_split_leaves_every_class_to_train_on():
    y = np.array([0, 0, 0, 0, 1, 2, 2])
    train, test = stratified_split(y, 0.9, seed=0)
    assert set(y[train]) == {0, 1, 2}
    assert np.bincount(y[test]).tolist() == [3, 0, 1]


@pytest.mark.parametrize("test_size", [0, 1, -0.1, 1.5, float("nan"), 1e-4])
def test_split_refuses_an_empty_part(test_size):
    with pytest.raises(ValueError, match="test_size"):
        stratified_split(np.zeros(100), test_size, seed=0)


def test_split_names_y_where_its_library_gives_no_array():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("it requires grad")

    with pytest.raises(TypeError, match="y must be what NumPy can read as an array, got Tensor"):
        stratified_split(Tensor(), 0.5, seed=0)


def test_split_refuses_targets_in_rows():
    with pytest.raises(ValueError, match=r"one class per row, got shape \(3, 2\)"):
        stratified_split(np.zeros((3, 2)), 0.5, seed=0)


# ------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, bool])
def test_arrays_of_an_npz_file(tmp_path, dtype):
    X, y = np.ones((4, 3), dtype), np.arange(4)
    np.savez_compressed(tmp_path / "data.npz", X=X, y=y, other=np.array(["a"]))
    got = read_examples(tmp_path / "data.npz")
    assert got[0].dtype == dtype
    assert np.array_equal(got[0], X)
    assert np.array_equal(got[1], y)
    assert np.array_equal(read_inputs(tmp_path / "data.npz", 3), X)
    with pytest.raises(ValueError, match=r"must have 4 columns \(the network's inputs\), got 3"):
        read_inputs(tmp_path / "data.npz", 4)


def test_npz_without_targets(tmp_path):
    np.savez(tmp_path / "data.npz", X=np.zeros((2, 3)))
    assert read_inputs(tmp_path / "data.npz", 3).shape == (2, 3)
    with pytest.raises(ValueError, match="it has no y"):
        read_examples(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"y": np.zeros(3)}, "two-dimensional array X, got none"),
        ({"X": np.zeros(3), "y": np.zeros(3)}, r"two-dimensional array X, got shape \(3,\)"),
        ({"X": np.zeros((3, 2)), "y": np.zeros(4)}, r"one row per row of X, got shapes \(3, 2\) and \(4,\)"),
        ({"X": np.zeros((3, 2)), "y": np.zeros((3, 1, 1))}, "one row per row of X"),
        ({"X": np.zeros((3, 2)), "y": np.float64(0)}, "one row per row of X"),
        ({"X": np.zeros((3, 2)), "y": np.array(["a", "b", "c"])}, "y must be of real numbers, got dtype <U1"),
        (
            {"X": np.zeros((3, 2), complex), "y": np.zeros(3)},
            "X must be of real numbers, got dtype complex",
        ),
        ({"X": np.full((3, 2), None), "y": np.zeros(3)}, r"not a readable \.npz file"),  # would need a pickle
    ],
)
def test_npz_with_a_fault(tmp_path, arrays, fault):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=fault):
        read_examples(tmp_path / "data.npz")


def test_npz_truncated_or_something_else(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, X=np.random.default_rng(0).random((9, 4)), y=np.zeros(9))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a readable"):
            read_examples(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(path)
    with pytest.raises(ValueError, match="not a readable"):
        read_examples(path)


def test_an_npz_file_that_claims_more_than_the_memory_is_named(tmp_path):
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**50, 4)})
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        file.writestr("X.npy", member.getvalue())
    with pytest.raises(MemoryError, match=r"data\.npz: Unable to allocate"):
        read_inputs(tmp_path / "data.npz", 4)


def test_a_header_that_numpy_warns_of_is_read_without_a_word(tmp_path):
    """Python 2 wrote 9L for 9."""
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 3L)}".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        file.writestr("X.npy", b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + bytes(48))
    assert read_inputs(tmp_path / "data.npz", 3).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    path = tmp_path / "pipe.npz"
    os.mkfifo(path)
    for read in (read_examples, lambda path: read_inputs(path, 3)):
        with pytest.raises(OSError, match="not a regular file") as caught:
            read(path)
        assert caught.value.filename == str(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_examples(tmp_path / "data.npz")
