"""Mutated model files: `python -m tests.fuzz --files 10000` loads that number of files and prints what became of them.

A file is refused with a clear error or gives the model that it was made from, bit for bit. A forged file, which has
a right checksum, may also give the model that it describes. A crash, a hang (the alarm), a huge allocation (a limit
of memory), any other error or any other model ends the program with the kind and the number of the file.
"""

import argparse
import json
import resource
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import SGD, Adam, Model
from fastbp.storage import files
from fastbp.storage.model_state import to_state

Random = np.random.Generator
Outcomes = Counter[tuple[str, str]]

SECONDS_A_FILE = 10
SPARE_MEMORY = 512 << 20  # beyond what the process has when it begins
DTYPES = (
    "BOOL",
    "U8",
    "I8",
    "F8_E5M2",
    "F8_E4M3",
    "F4",
    "I16",
    "U16",
    "F16",
    "BF16",
    "I32",
    "F32",
    "F64",
    "I64",
    "C64",
)
HUGE = (2**31 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -1, 0)
VALUES: tuple[Any, ...] = (
    None, True, False, "", "adam", "relu", "softmax", "\n", "\ud800", [], [[]], {}, {"name": "sgd"}, 0, 1, -1, 0.5,
    float("nan"), float("inf"), 10**400, [10**9, 10**9], [2**62, 2], [1] * 1000, ["relu"] * 100, *HUGE,
)  # fmt: skip


def models() -> list[Model]:
    """Small ones of both dtypes, trained and not."""
    rng = np.random.default_rng(0)
    X, y, classes = rng.normal(size=(40, 3)), rng.normal(size=(40, 2)), rng.integers(0, 4, 40)
    result = [
        Model((3, 5, 2), dtype="float64", seed=1),
        Model((3, 2), bias=False, reduction="sum", seed=2),
        Model((3, 4, 4, 2), hidden=("tanh", "sigmoid"), loss="half_squared_error", seed=3),
        Model((3, 6, 4), output="softmax", seed=4),
    ]
    optimizers = (Adam(), SGD(0.01), SGD(0.01, momentum=0.5, nesterov=True), Adam(0.01, beta_1=0.5))
    for model, optimizer in zip(result, optimizers, strict=True):
        model.fit(X, classes if model.loss == "cross_entropy" else y, epochs=1, batch_size=16, optimizer=optimizer)
    return [*result, Model((3, 5, 2), dtype="float64", seed=9)]


# --- mutations: from one or two whole files to another one --------------------------------------------------------


def truncated(rng: Random, whole: bytes, other: bytes) -> bytes:
    return whole[: rng.integers(len(whole))]


def extended(rng: Random, whole: bytes, other: bytes) -> bytes:
    return whole + (rng.bytes(rng.integers(1, 100)) if rng.random() < 0.5 else other)


def flipped_bits(rng: Random, whole: bytes, other: bytes) -> bytes:
    return _flipped(rng, whole, 0, len(whole))


def flipped_header_bits(rng: Random, whole: bytes, other: bytes) -> bytes:
    return _flipped(rng, whole, 0, _data_at(whole))


def overwritten(rng: Random, whole: bytes, other: bytes) -> bytes:
    begin, end = np.sort(rng.integers(len(whole) + 1, size=2))
    size = int(end - begin)
    return whole[:begin] + (bytes(size) if rng.random() < 0.5 else rng.bytes(size)) + whole[end:]


def swapped_headers(rng: Random, whole: bytes, other: bytes) -> bytes:
    data = other[_data_at(other) :]
    return whole[: _data_at(whole)] + (data if rng.random() < 0.5 else data.ljust(len(whole), b"\0"))


def spliced(rng: Random, whole: bytes, other: bytes) -> bytes:
    return whole[: rng.integers(len(whole))] + other[rng.integers(len(other)) :]


def header_sizes(rng: Random, whole: bytes, other: bytes) -> bytes:
    size = int(rng.choice([2**16, 99_999_999, 100_000_001, 2**31, 2**32, 2**63 - 1, len(whole), rng.integers(2**62)]))
    return struct.pack("<Q", size) + whole[8:]


def huge_sizes(rng: Random, whole: bytes, other: bytes) -> bytes:
    def change(tensor: dict[str, Any]) -> None:
        numbers = tensor["shape" if rng.random() < 0.5 else "data_offsets"]
        numbers[rng.integers(len(numbers))] = HUGE[rng.integers(len(HUGE))]
        if rng.random() < 0.3:
            tensor["shape"] += [1] * int(rng.integers(100))

    return _with_tensor(rng, whole, change)


def wrong_dtypes(rng: Random, whole: bytes, other: bytes) -> bytes:
    def change(tensor: dict[str, Any]) -> None:
        size = tensor["data_offsets"][1] - tensor["data_offsets"][0]
        tensor["dtype"] = DTYPES[rng.integers(len(DTYPES))]
        bits = {"F8": 8, "F4": 4, "BOOL": 8, "BF16": 16}.get(tensor["dtype"].split("_")[0]) or int(tensor["dtype"][1:])
        if rng.random() < 0.7:  # a shape that fits
            tensor["shape"] = [8 * size // bits]

    return _with_tensor(rng, whole, change)


def renamed(rng: Random, whole: bytes, other: bytes) -> bytes:
    header = _header(whole)
    keys = list(header)
    key = keys[rng.integers(len(keys))]
    value = header.pop(key)
    if rng.random() < 0.7:
        header[("", "weights", "__metadata__", "parameters", "moments")[rng.integers(5)]] = value
    return _with_header(whole, header)


def metadata(rng: Random, whole: bytes, other: bytes) -> bytes:
    header = _header(whole)
    text = header["__metadata__"]
    key = list(text)[rng.integers(len(text))]
    values = (
        "",
        "0",
        "1",
        "2",
        "3",
        "99999999999",
        "9" * 5000,
        "-1",
        "²",
        text["model"],
        "{}",
        "[" * 5000,
        7,
        None,
        [],
    )
    text[key] = values[rng.integers(len(values))]
    return _with_header(whole, header)


MUTATIONS: tuple[Callable[[Random, bytes, bytes], bytes], ...] = (
    truncated, extended, flipped_bits, flipped_header_bits, overwritten, swapped_headers, spliced, header_sizes,
    huge_sizes, wrong_dtypes, renamed, metadata,
)  # fmt: skip


def _data_at(whole: bytes) -> int:
    return int(8 + struct.unpack("<Q", whole[:8])[0])


def _header(whole: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(whole[8 : _data_at(whole)])
    return header


def _with_header(whole: bytes, header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + whole[_data_at(whole) :]


def _with_tensor(rng: Random, whole: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    header = _header(whole)
    change(header["parameters" if rng.random() < 0.5 else "moments"])
    return _with_header(whole, header)


def _flipped(rng: Random, whole: bytes, begin: int, end: int) -> bytes:
    result = bytearray(whole)
    for at in rng.integers(begin, end, rng.integers(1, 9)):
        result[at] ^= 1 << rng.integers(8)
    return bytes(result)


# --- forged files: the checksum is right --------------------------------------------------------------------------


def forged(rng: Random, path: Path, model: Model) -> dict[str, Any]:
    """Writes a file with one or two wrong things in it; returns its description."""
    description, tensors = to_state(model._problem, model._state)
    for _ in range(rng.integers(1, 3)):
        fields: dict[str, Any] = description if rng.random() < 0.7 else description["optimizer"]
        if rng.random() < 0.6 and isinstance(fields, dict):
            fields[[*fields, "unknown"][rng.integers(len(fields) + 1)]] = VALUES[rng.integers(len(VALUES))]
        else:
            name = list(tensors)[rng.integers(len(tensors))]
            tensors[name] = _wrong_tensor(rng, tensors[name])
        if not isinstance(description["optimizer"], dict):
            break
    text = json.dumps(description)
    files.write(path, tensors, {"model": "[" * 100_000 if rng.random() < 0.02 else text})
    result: dict[str, Any] = json.loads(text)
    return result


def _wrong_tensor(rng: Random, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(all="ignore"):
        result = tensor.astype(("f2", "f4", "f8", "i4", "i8", "u1", "?")[rng.integers(7)])
    changes: tuple[Callable[[], np.ndarray[Any, Any]], ...] = (
        lambda: result[:-1],
        lambda: result[:0],
        lambda: result[None],
        lambda: result[:, None],
        lambda: result.reshape(-1)[:1].reshape(()) if result.size else result,
        lambda: np.append(result, result),
        lambda: result * np.float32("nan"),
    )
    return changes[rng.integers(len(changes))]()


# --- outcomes -----------------------------------------------------------------------------------------------------


def loaded(path: Path) -> Model | None:
    """None if the file is refused with an error that is clear: its kind, the file's name, one short line."""
    try:
        return Model.load(path)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{path} "), message
        assert "is not a fastbp model: " in message or "was written by a newer fastbp" in message, message
        assert message.isprintable(), message
        assert len(message) < 2000, message
        return None


def same(model: Model, description: dict[str, Any], tensors: files.Tensors) -> bool:
    """Whether the model has what the description says, and these bits."""
    says, holds = to_state(model._problem, model._state)
    return json.loads(json.dumps(says)) == json.loads(json.dumps(description)) and all(
        (t.dtype, t.tobytes()) == (holds[name].dtype, holds[name].tobytes()) for name, t in tensors.items()
    )


def fuzz(n_files: int, seed: int, folder: Path) -> Outcomes:
    """Loads files of every kind in turn."""
    made = models()
    path = folder / "model.safetensors"
    wholes = []
    for model in made:
        model.save(path)
        wholes.append(path.read_bytes())
    outcomes: Outcomes = Counter()
    for number in range(n_files):
        rng = np.random.default_rng((seed, number))
        kind = number % (len(MUTATIONS) + 1)
        i, j = (int(k) for k in rng.integers(len(made), size=2))
        name = "forged" if kind == len(MUTATIONS) else MUTATIONS[kind].__name__
        signal.alarm(SECONDS_A_FILE)
        try:
            if name == "forged":
                description = forged(rng, path, made[i])
                model_read = loaded(path)
                if model_read is not None:
                    assert same(model_read, description, files.read(path)[0]), "another model than it describes"
                outcome = "refused" if model_read is None else "as described"
            else:
                path.write_bytes(MUTATIONS[kind](rng, wholes[i], wholes[j]))
                model_read = loaded(path)
                assert model_read is None or any(
                    same(model_read, *to_state(made[k]._problem, made[k]._state)) for k in (i, j)
                ), "another model"
                outcome = "refused" if model_read is None else "identical"
        except BaseException:
            print(f"file {number} ({name}) of seed {seed}:", file=sys.stderr)
            raise
        outcomes[name, outcome] += 1
    signal.alarm(0)
    return outcomes


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE_MEMORY, resource.RLIM_INFINITY))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    limit_memory()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = fuzz(options.files, options.seed, Path(folder))
    columns = ("refused", "identical", "as described")
    print(f"{'mutation':<20}" + "".join(f"{column:>14}" for column in columns))
    for name in dict.fromkeys(name for name, _ in outcomes):
        print(f"{name:<20}" + "".join(f"{outcomes[name, column]:>14}" for column in columns))
    print(f"{'all':<20}" + "".join(f"{sum(outcomes[key] for key in outcomes if key[1] == c):>14}" for c in columns))


if __name__ == "__main__":
    main()
