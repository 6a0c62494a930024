"""Model files come back as they were, or are refused; a write happens wholly or not at all."""

import contextlib
import errno
import os
import pickle
import socket
import stat
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fastbp.storage import files

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
def test_read_returns_the_tensors_and_metadata_written(tmp_path, dtype):
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


def test_a_file_without_tensors_can_be_read(tmp_path):
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


def test_a_truncated_file_is_refused_at_any_length(model):
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


def test_files_of_other_formats_are_refused(tmp_path):
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
    monkeypatch.setattr(files, "FORMAT", 4)
    files.write(model, TENSORS, TEXT)
    monkeypatch.undo()
    refused(model, r"newer fastbp \(its format is 4, not 3\): upgrade fastbp")


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


def test_reading_and_writing_without_permission_raise_permission_error():
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


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    """A pipe without a writer would be waited for, and a device may have no end."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero"), Path("/dev/null")):
            with pytest.raises(OSError, match="not a regular file") as caught:
                files.read(path)
            assert caught.value.filename == str(path)


@pytest.mark.parametrize("path", [None, 3, 1.5, ["model"]])
def test_what_is_no_path_is_refused_by_its_name(path):
    for call in (files.read, lambda path: files.write(path, TENSORS, TEXT)):
        with pytest.raises(TypeError, match="path must be a path, got "):
            call(path)


def test_a_path_may_be_bytes_and_need_not_be_utf_8(tmp_path):
    for name in (b"model", "größer".encode(), b"\xff\xfe"):
        path = os.fsencode(tmp_path) + b"/" + name
        files.write(path, TENSORS, TEXT)
        assert same(files.read(path)[0], TENSORS)
        assert same(files.read(os.fsdecode(path))[0], TENSORS)


# ------------------------------------------------------------------------------------ targets that are no files

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can")
NULL, FULL = (1, 3), (1, 7)
"""The numbers of /dev/null and /dev/full, on Linux."""


def device(folder, numbers, kind=stat.S_IFCHR):
    """A device of these numbers in the folder, so that a test that goes wrong does no harm."""
    path = folder / "device"
    try:
        os.mknod(path, kind | 0o666, os.makedev(*numbers))
        with open(path, "ab"):
            pass
    except PermissionError:
        pytest.skip("devices cannot be made here")
    return path


def test_a_device_as_target_is_written_through(tmp_path):
    path = device(tmp_path, NULL)
    link = tmp_path / "link"
    link.symlink_to(path)
    for target in (path, link):
        files.write(target, TENSORS, TEXT)
        assert stat.S_ISCHR(path.stat().st_mode)
    assert link.is_symlink()
    assert len(os.listdir(tmp_path)) == 2


def test_a_full_device_names_the_target(tmp_path):
    path = device(tmp_path, FULL)
    with pytest.raises(OSError, match="No space left on device") as caught:
        files.write(path, TENSORS, TEXT)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert stat.S_ISCHR(path.stat().st_mode)


def test_a_pipe_as_target_is_written_through(tmp_path):
    """As `… | cat` reads it, more than a pipe holds at once."""
    pipe, large = tmp_path / "pipe", {"theta": np.arange(100_000.0)}
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    while True:
        try:
            files.write(pipe, large, TEXT)
            break
        except OSError as error:  # the reader is not there yet
            assert error.errno == errno.ENXIO  # noqa: PT017
    reader.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "copy").write_bytes(got[0])
    assert same(files.read(tmp_path / "copy")[0], large)


def test_a_pipe_without_a_reader_is_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="a pipe without a reader") as caught:
        files.write(pipe, TENSORS, TEXT)
    assert (caught.value.errno, caught.value.filename) == (errno.ENXIO, str(pipe))
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_reader_that_goes_away_is_a_broken_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    closing = threading.Timer(0.2, os.close, [reader])
    closing.start()
    with pytest.raises(BrokenPipeError):
        files.write(pipe, {"theta": np.zeros(1_000_000)}, {})
    closing.join()


def test_a_socket_as_target_is_refused(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        for call in (lambda: files.write(path, TENSORS, TEXT), lambda: files.check_target(path)):
            with pytest.raises(OSError, match="not a file, a character device or a pipe") as caught:
                call()
            assert caught.value.filename == str(path)
    assert stat.S_ISSOCK(path.stat().st_mode)


@AS_ROOT
def test_a_block_device_as_target_is_refused(tmp_path):
    path = tmp_path / "disk"
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(240, 0))  # of no driver
    with pytest.raises(OSError, match="not a file, a character device or a pipe"):
        files.write(path, TENSORS, TEXT)
    assert stat.S_ISBLK(path.stat().st_mode)


# ------------------------------------------------------------------------------------ whose the file is


@contextlib.contextmanager
def umask(mode):
    old = os.umask(mode)
    try:
        yield
    finally:
        os.umask(old)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o664, 0o777])
def test_the_mode_of_the_older_file_is_kept(tmp_path, mode):
    """Whatever the umask is, and also behind a symbolic link."""
    path, link = tmp_path / "model", tmp_path / "link"
    files.write(path, {}, {})
    path.chmod(mode)
    link.symlink_to(path)
    for target in (path, link):
        for mask in (0o000, 0o022, 0o077):
            with umask(mask):
                files.write(target, TENSORS, TEXT)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    path.chmod(0o600)
    assert same(files.read(path)[0], TENSORS)


def test_a_private_file_is_at_no_time_open_to_others(model, monkeypatch):
    model.chmod(0o600)
    fchmod, seen = os.fchmod, []

    def watched(descriptor, mode):
        status = os.fstat(descriptor)
        seen.append((stat.S_IMODE(status.st_mode), status.st_size))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", watched)
    with umask(0):
        files.write(model, TENSORS, TEXT)
    assert seen == [(0o600, 0)]


@AS_ROOT
def test_root_leaves_a_file_to_its_owner_and_group(model):
    os.chown(model, 65534, 12345)
    model.chmod(0o640)
    files.write(model, {}, {"new": "yes"})
    status = model.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 12345, 0o640)
    assert files.read(model)[1] == {"new": "yes"}


@AS_ROOT
def test_what_one_group_may_read_is_not_opened_to_another():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files.write(folder / "model", TENSORS, TEXT)
        os.chown(folder / "model", 0, 12345)  # a group that the writer is not in
        (folder / "model").chmod(0o664)
        with ordinary_user(folder):
            files.write(folder / "model", {}, {"new": "yes"})
            assert stat.S_IMODE((folder / "model").stat().st_mode) == 0o604


# ------------------------------------------------------------------------------------ names


def test_every_name_that_the_system_takes_is_written(tmp_path):
    for name in ("a" * 241, "b" * 242, "c" * 255, "ä" * 127, "-"):
        files.write(tmp_path / name, TENSORS, TEXT)
        assert same(files.read(tmp_path / name)[0], TENSORS)
    with pytest.raises(OSError, match="too long") as caught:
        files.write(tmp_path / ("d" * 256), TENSORS, TEXT)
    assert caught.value.filename == str(tmp_path / ("d" * 256))
    assert len(os.listdir(tmp_path)) == 5


def test_symbolic_links_that_lead_nowhere(tmp_path):
    """One to a file that is not there yet makes it; one to itself is refused and stays."""
    dangling, circle = tmp_path / "dangling", tmp_path / "circle"
    dangling.symlink_to(tmp_path / "new")
    circle.symlink_to(circle)
    files.write(dangling, TENSORS, TEXT)
    assert dangling.is_symlink()
    assert same(files.read(tmp_path / "new")[0], TENSORS)
    with pytest.raises(OSError, match="symbolic links"):
        files.write(circle, TENSORS, TEXT)
    assert circle.is_symlink()


def test_a_target_is_checked_before_there_is_anything_to_write(tmp_path):
    files.check_target(tmp_path / "new")
    files.check_target("new")
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        files.check_target(tmp_path / "none" / "model")
    with pytest.raises(IsADirectoryError):
        files.check_target(tmp_path)


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
    with umask(0o027):
        files.write(link, TENSORS, TEXT)
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
