"""Model files come back as they were, or are refused; a write happens wholly or not at all."""

import contextlib
import errno
import os
import pickle
import stat
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fastbp import files

TENSORS = {"theta": np.linspace(-1, 1, 7, dtype=np.float32), "steps": np.array(3)}
TEXT = {"sizes": "2,3,1", "note": "größer ≥ 0"}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    files.write(path, TENSORS, TEXT)
    return path


def same(got, expected):
    def description(t):
        return t.dtype.newbyteorder("="), t.shape, t.tolist()

    return {n: description(t) for n, t in got.items()} == {n: description(t) for n, t in expected.items()}


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u8", "u1", "?"])
def test_arrays_come_back(tmp_path, dtype):
    square = (np.arange(36).reshape(6, 6) % 5).astype(dtype)
    tensors = {
        "plain": square,
        "scalar": square[0, 1],
        "empty": square[:0],
        "transposed": square.T,
        "strided": square[::2, 1::3],
        "big endian": square.astype(np.dtype(dtype).newbyteorder(">")),
    }
    files.write(tmp_path / "model", tensors, TEXT)
    got, text = files.read(tmp_path / "model")
    assert same(got, tensors)
    assert text == TEXT
    for t in got.values():
        t[...] = 0  # writable
    assert same(files.read(tmp_path / "model")[0], tensors)  # and not the file itself


def test_nothing_to_write(tmp_path):
    files.write(str(tmp_path / "model"), {}, {})
    assert files.read(str(tmp_path / "model")) == ({}, {})


def test_special_values_keep_their_bits(tmp_path):
    t = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324])
    files.write(tmp_path / "model", {"t": t}, {})
    assert files.read(tmp_path / "model")[0]["t"].tobytes() == t.tobytes()


# ------------------------------------------------------------------------------------- files that are refused


def refused(path, match="is not a fastbp model"):
    with pytest.raises(ValueError, match=match) as caught:
        files.read(path)
    assert str(path) in str(caught.value)


def test_truncated_anywhere(model):
    whole = model.read_bytes()
    for length in range(len(whole)):
        model.write_bytes(whole[:length])
        refused(model)
    model.write_bytes(whole + b"\0")
    refused(model)


def test_one_bit_flipped_anywhere(model):
    """Every flip is refused, but for those that leave the meaning, as of a space in the header."""
    whole = model.read_bytes()
    harmless = 0
    for i in range(len(whole)):
        for bit in (0, 3, 6):
            model.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :])
            try:
                got, text = files.read(model)
            except ValueError:
                continue
            assert same(got, TENSORS)
            assert text == TEXT
            harmless += 1
    assert harmless < 0.02 * 3 * len(whole)


def test_other_files(tmp_path):
    path = tmp_path / "other"
    for content in (b"", b"hello", pickle.dumps(TENSORS), b"PK\x03\x04" + bytes(100), bytes(1000)):
        path.write_bytes(content)
        refused(path)
    save_file({"t": np.zeros(3)}, path)
    refused(path, "another program")
    save_file({"t": np.zeros(3)}, path, {"fastbp": "one"})
    refused(path, "its format is 'one'")
    save_file({"t": np.zeros(3)}, path, {"fastbp": "1"})
    refused(path, "checksum")


def test_a_newer_version_says_so(model, monkeypatch):
    monkeypatch.setattr(files, "FORMAT", 3)
    files.write(model, TENSORS, TEXT)
    monkeypatch.undo()
    refused(model, r"newer fastbp \(its format is 3, not 2\): upgrade fastbp")


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        files.read(tmp_path)


@contextlib.contextmanager
def ordinary_user(folder):
    """Root may read and write everything: makes the folder another user's, and this process that user."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.iterdir()):
        os.chown(path, 65534, -1)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_permissions():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files.write(folder / "model", TENSORS, TEXT)
        (folder / "model").chmod(0)
        folder.chmod(0o500)
        with ordinary_user(folder):
            with pytest.raises(PermissionError):
                files.read(folder / "model")
            with pytest.raises(PermissionError) as caught:
                files.write(folder / "new", TENSORS, TEXT)
        folder.chmod(0o700)
        assert caught.value.filename == str(folder / "new")
        assert os.listdir(folder) == ["model"]


# ------------------------------------------------------------------------------------ a write that fails


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_file(model, monkeypatch, call, error):
    def fail(*_):
        raise error

    before = model.read_bytes()
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)) as caught:
        files.write(model, {"theta": np.zeros(1000)}, {})
    monkeypatch.undo()
    assert model.read_bytes() == before
    assert os.listdir(model.parent) == [model.name]
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(model)


def test_a_write_to_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        files.write(tmp_path / "none" / "model", TENSORS, TEXT)
    assert caught.value.filename == str(tmp_path / "none" / "model")


def test_a_write_over_a_folder(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(OSError, match="model") as caught:
        files.write(tmp_path / "model", TENSORS, TEXT)
    assert caught.value.filename == str(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]


def test_a_failing_sync_of_the_folder_is_no_failure(model, monkeypatch):
    """Some file systems cannot: the file is whole and in its place by then."""
    fsync = os.fsync

    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    files.write(model, {}, {"new": "yes"})
    assert files.read(model)[1] == {"new": "yes"}


def test_the_file_follows_the_umask_and_symbolic_links(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    old = os.umask(0o027)
    try:
        files.write(link, TENSORS, TEXT)
    finally:
        os.umask(old)
    assert link.is_symlink()
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o640
    assert same(files.read(tmp_path / "target")[0], TENSORS)


def test_readers_see_the_old_file_or_the_new_one(model):
    """A thread writes the one or the other model, again and again; every read finds one of them whole."""
    models = [{"theta": np.full(1000 * i, i, np.float32)} for i in (1, 2)]
    files.write(model, models[0], {})
    stop = threading.Event()

    def write():
        for i in range(100):
            files.write(model, models[i % 2], {})
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stop.is_set():
        got = files.read(model)[0]
        assert same(got, models[0]) or same(got, models[1])
    writer.join()
    assert os.listdir(model.parent) == [model.name]
