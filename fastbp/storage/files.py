"""Model files: named arrays and text in one safetensors file, written atomically; and atomic writes of any file.

A safetensors file is a JSON header and raw little-endian arrays: reading one runs no code, as a pickle would.
The header's text holds the format's version under "fastbp" and a checksum under "crc32".

Reads regular files only. A write replaces a regular file atomically; it goes through a character device or a pipe,
which cannot be replaced.
"""

import contextlib
import errno
import os
import secrets
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

FORMAT = 3
"""The version of the format that this module writes; it reads older ones as well.

1: without the fields of `model_state.ABSENT`; 2: with all but `standardize` and
`trainable`; 3: with all.
"""

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
}  # fmt: skip
"""The dtypes that `write` takes, by safetensors' names, which has others that NumPy lacks."""

LONGEST_FAULT = 300
"""Characters of an error message that quote a file."""

Tensors = dict[str, np.ndarray[Any, Any]]


def write(path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Writes arrays and text to `path`, as `replace` does.

    `tensors` are real, integer or bool arrays of any shape; `metadata` is text, where the keys "fastbp" and
    "crc32" are set here.
    """
    native = {name: np.asarray(t, dtype=t.dtype.newbyteorder("="), order="C") for name, t in tensors.items()}
    text = dict(metadata) | {"fastbp": str(FORMAT)}
    text["crc32"] = _checksum(native, text)
    replace(path, to_bytes(native, text))


def read(path: str | os.PathLike[str]) -> tuple[Tensors, dict[str, str]]:
    """Reads what `write` has written: (tensors, metadata), the arrays writable and independent of the file.

    Raises OSError (FileNotFoundError, …) also for anything but a regular file, ValueError for a file that is truncated
    or corrupted, that is not a fastbp model, or that a newer fastbp has written.
    """
    path = as_path("path", path)
    check_regular(path)
    with open(path, "rb"):  # raises the usual OSError with its errno, which the next line lacks
        pass
    try:
        with safe_open(path, framework="np") as file:
            text: dict[str, str] = file.metadata() or {}
            _check_format(path, text.get("fastbp"))
            tensors = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError) as error:  # OSError: what cannot be mapped, as an empty file
        raise not_a_model(path, error) from None
    if text.pop("crc32", None) != _checksum(tensors, text):
        raise not_a_model(path, "its checksum does not match, so it is corrupted")
    del text["fastbp"]
    return tensors, text


def not_a_model(
    path: str | os.PathLike[str], fault: str | Exception, what: str = "is not a fastbp model"
) -> ValueError:
    """The error for a file with wrong contents; the fault, which may quote them, becomes one line of limited length."""
    text = f"it has no {fault}" if isinstance(fault, KeyError) else str(fault)
    line = "".join(c if c.isprintable() else "?" for c in text)
    return ValueError(f"{os.fspath(path)} {what}: {line[:LONGEST_FAULT]}")


def _tensor(file: Any, name: str) -> np.ndarray[Any, Any]:
    dtype = file.get_slice(name).get_dtype()
    if dtype not in DTYPES:
        raise SafetensorError(f"{name!r} is of dtype {dtype}")
    try:
        return np.array(file.get_tensor(name))
    except ValueError as error:  # more axes than NumPy has
        raise SafetensorError(f"{name!r}: {error}") from None


def _check_format(path: str | os.PathLike[str], version: str | None) -> None:
    if version is None:
        raise not_a_model(path, "a safetensors file of another program")
    if not version.isdecimal() or len(version) > 9 or int(version) < 1:
        raise not_a_model(path, f"its format is {version!r}")
    if int(version) > FORMAT:
        raise ValueError(
            f"{path} was written by a newer fastbp (its format is {version}, not {FORMAT}): upgrade fastbp"
        )


def _checksum(tensors: Tensors, text: Mapping[str, str]) -> str:
    """The CRC-32 of all names, dtypes, shapes, values and text, in alphabetical order, in hexadecimal."""
    crc = zlib.crc32(repr(sorted(text.items())).encode())
    for name, t in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {t.dtype.name} {t.shape}".encode(), crc)
        crc = zlib.crc32(t.tobytes(), crc)
    return f"{crc:08x}"


# --- files of any kind ------------------------------------------------------------------------------------------------


def as_path(name: str, path: object) -> str:
    """The path as a string; TypeError names the argument."""
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a path, got {path!r}") from None


def check_regular(path: str | os.PathLike[str]) -> None:
    """OSError unless the path is a regular file: reading a pipe may block for ever, and a device may have no end."""
    _check_kind(path, os.stat(path), "a regular file", stat.S_IFREG)


def check_target(path: str | os.PathLike[str]) -> None:
    """OSError if `replace` would refuse the path, as far as that shows without writing."""
    folder = os.path.dirname(path) or os.curdir
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {os.fspath(folder)}", os.fspath(path))
    _status(path)


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """The status of `replace`'s target, None if there is none; OSError for what it refuses."""
    if os.fsdecode(path).endswith(os.sep):  # a folder that does not exist
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    _check_kind(path, status, "a file, a character device or a pipe", stat.S_IFREG, stat.S_IFCHR, stat.S_IFIFO)
    return status


def _check_kind(path: str | os.PathLike[str], status: os.stat_result, expected: str, *kinds: int) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if kind not in kinds:
        raise OSError(errno.EINVAL, f"not {expected}", os.fspath(path))


def replace(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` to `path`, replacing an older file atomically: a failure leaves that unchanged.

    The new file has the mode, the group and the owner of the older one, as far as this user may set them. Writes
    through a character device or a pipe. OSError, which names the path, for a folder, a block device, a socket, a pipe
    without a reader, and where the folder does not exist or is not writable.
    """
    path = as_path("path", path)
    try:
        old = _status(path)
        if old is None or stat.S_ISREG(old.st_mode):
            _replace_file(Path(os.path.realpath(path)), data, old)
        else:
            _write_through(path, data)
    except OSError as error:
        if not error.errno:
            raise
        raise OSError(error.errno, error.strerror, path) from None  # name the user's file, not the temporary one


def _replace_file(path: Path, data: bytes, old: os.stat_result | None) -> None:
    """Writes `data` to a new file in the same folder, syncs it to the disk, and renames it to `path`."""
    temporary = path.parent / f".fastbp-{secrets.token_hex(8)}.tmp"  # of fixed length, as names are limited
    mode = 0o666 if old is None else 0o600  # private until it has the older file's mode
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if old is not None:
                _take_over(file.fileno(), old)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Sets the group, the owner and the mode of a file to those of an older one."""
    mode = stat.S_IMODE(old.st_mode) & 0o777
    try:
        os.fchown(descriptor, -1, old.st_gid)
    except OSError:  # else it would open to another group
        mode &= ~stat.S_IRWXG
    with contextlib.suppress(OSError):
        os.fchown(descriptor, old.st_uid, -1)
    os.fchmod(descriptor, mode)


def _write_through(path: str, data: bytes) -> None:
    """Writes `data` to a character device or a pipe."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)  # else a pipe blocks
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(path).st_mode):
            raise OSError(errno.ENXIO, "a pipe without a reader") from None
        raise
    with open(descriptor, "wb", buffering=0) as file:
        os.set_blocking(descriptor, True)
        remainder = memoryview(data)
        while remainder:
            remainder = remainder[file.write(remainder) :]


def _sync_folder(folder: Path) -> None:
    """Syncs the rename to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
