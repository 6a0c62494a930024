"""Model files: named arrays and text in one safetensors file, written whole or not at all.

A safetensors file is a JSON header and raw little-endian arrays: reading one runs no code, as a pickle would.
The header's text holds the format's version under "fastbp" and a checksum under "crc32".
"""

import contextlib
import os
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

FORMAT = 2
"""The version of the format that this module writes, and the newest that it reads; older ones it reads as well.

1: a model has no fields of `saving.ABSENT`; 2: it may have them.
"""

DTYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
"""What safetensors calls the dtypes that `write` uses; it has others, which NumPy does not know."""

LONGEST_FAULT = 300
"""Characters of an error message that may quote a file."""

Tensors = dict[str, np.ndarray[Any, Any]]


def write(path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Writes arrays and text to `path`, replacing an older file in one step: a failure leaves that as it was.

    `tensors` are real, integer or bool arrays of any shape; `metadata` is text, where the keys "fastbp" and
    "crc32" are set here. Raises OSError where the folder does not exist or is not writable.
    """
    native = {name: np.asarray(t, dtype=t.dtype.newbyteorder("="), order="C") for name, t in tensors.items()}
    text = dict(metadata) | {"fastbp": str(FORMAT)}
    text["crc32"] = _checksum(native, text)
    _replace(Path(os.path.realpath(path)), to_bytes(native, text))


def read(path: str | os.PathLike[str]) -> tuple[Tensors, dict[str, str]]:
    """Reads what `write` has written: (tensors, metadata), the arrays writable and independent of the file.

    Raises OSError (FileNotFoundError, …) as it comes, ValueError for a file that is truncated or corrupted,
    that is no fastbp model, or that a newer fastbp has written.
    """
    with open(path, "rb"):  # the usual OSError with its errno: the next line's are poorer
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


def not_a_model(path: str | os.PathLike[str], fault: str | Exception) -> ValueError:
    """The error for a file whose contents are wrong; the fault may quote them: one line of it, not too long."""
    text = f"it has no {fault}" if isinstance(fault, KeyError) else str(fault)
    line = "".join(c if c.isprintable() else "?" for c in text)
    return ValueError(f"{os.fspath(path)} is not a fastbp model: {line[:LONGEST_FAULT]}")


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


def _replace(path: Path, data: bytes) -> None:
    """Writes `data` to a new file beside `path`, brings it to the disk, and renames it to `path`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:  # not tempfile: its files are for the owner alone
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno:  # name the user's file, not ours
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Brings the rename itself to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
