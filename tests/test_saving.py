"""Models come back as they were: from files of this version and of older ones, from pickles and as copies."""

import copy
import errno
import json
import os
import pickle
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp import SGD, Adam, Model, files
from fastbp.saving import ABSENT

MODELS = Path(__file__).parent / "models"
RNG = np.random.default_rng(0)
X, CLASSES = RNG.normal(size=(60, 4)), RNG.integers(0, 3, 60)


def trained(dtype: str = "float32", optimizer: Any = "adam", **options: Any) -> Model:
    model = Model((4, 5, 3), hidden="tanh", output="softmax", dtype=dtype, seed=3, **options)
    model.fit(X, CLASSES, epochs=2, batch_size=16, optimizer=optimizer)
    return model


def from_file(model: Model, folder: Path) -> Model:
    model.save(folder / "model")
    return Model.load(folder / "model")


def from_pickle(protocol: int) -> Callable[[Model, Path], Model]:
    return lambda model, _: pickle.loads(pickle.dumps(model, protocol))


WAYS: dict[str, Callable[[Model, Path], Model]] = {
    "file": from_file,
    "copy": lambda model, _: copy.copy(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    **{f"pickle {protocol}": from_pickle(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_the_same_and_trains_on_to_the_same_bits(way: str, tmp_path: Path) -> None:
    for model in (
        trained(),
        trained("float64", SGD(0.1, momentum=0.9, nesterov=True), bias=False, reduction="sum"),
        Model((4, 3), output="softmax", initial="glorot_normal"),
    ):
        twin = WAYS[way](model, tmp_path)
        assert repr(twin) == repr(model)
        assert twin.seed == model.seed
        assert twin.parameters.tobytes() == model.parameters.tobytes()
        before = model.parameters.copy()
        twin.fit(X, CLASSES, epochs=1, batch_size=16)
        assert model.parameters.tobytes() == before.tobytes()  # the copy has memory of its own
        model.fit(X, CLASSES, epochs=1, batch_size=16)
        assert twin.parameters.tobytes() == model.parameters.tobytes() != before.tobytes()


def test_a_container_of_models_is_copied_as_one() -> None:
    model = trained()
    first, second = copy.deepcopy([model, model])
    assert first is second
    assert first is not model


# --- other versions -------------------------------------------------------------------------------------------------


def test_a_file_of_the_first_format_is_read() -> None:
    """`trained(optimizer=Adam(0.01))` as version 0.1 has written it."""
    model = Model.load(MODELS / "format-1.safetensors")
    assert repr(model).startswith(
        "Model((4, 5, 3), hidden=('tanh',), output='softmax', loss='cross_entropy', dtype='float32'): "
        "43 parameters, 2 epochs and 8 steps trained with Adam(learning_rate=0.01, "
    )
    expected = [[0.27404287, 0.54443222, 0.18152492]]
    np.testing.assert_allclose(model.predict([[0.5, -1.0, 0.25, 2.0]]), expected, rtol=1e-5)
    np.testing.assert_allclose(model.parameters, trained(optimizer=Adam(0.01)).parameters, rtol=1e-3, atol=1e-5)
    model.fit(X, CLASSES, epochs=1)
    assert "3 epochs" in repr(model)


def test_the_next_format_is_refused_with_an_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FORMAT", files.FORMAT + 1)
    trained().save(tmp_path / "model")
    monkeypatch.undo()
    newer = rf"model was written by a newer fastbp \(its format is {files.FORMAT + 1}, not {files.FORMAT}\): upgrade"
    with pytest.raises(ValueError, match=newer):
        Model.load(tmp_path / "model")


def test_a_field_that_a_file_lacks_has_its_default_if_it_came_after_the_first_format(tmp_path: Path) -> None:
    trained().save(tmp_path / "model")
    tensors, metadata = files.read(tmp_path / "model")
    description = json.loads(metadata["model"])
    for field in ABSENT:
        del description[field]
    del description["optimizer"]["clip_norm"]
    files.write(tmp_path / "model", tensors, {"model": json.dumps(description)})
    assert repr(Model.load(tmp_path / "model")) == repr(trained())
    for field in description:
        less = {name: value for name, value in description.items() if name != field}
        files.write(tmp_path / "model", tensors, {"model": json.dumps(less)})
        with pytest.raises(ValueError, match="model is not a fastbp model: "):
            Model.load(tmp_path / "model")


# --- files that are wrong, and disks that are full ------------------------------------------------------------------


@pytest.mark.long
def test_mutated_files_are_refused_or_harmless() -> None:
    """In a process with little memory and an alarm; `python -m tests.fuzz --files 10000` tries more of them."""
    n_files = 520
    program = [sys.executable, "-m", "tests.fuzz", "--files", str(n_files)]
    root = Path(__file__).parent.parent
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    counts = [int(count) for count in re.findall(r"\d+", done.stdout.splitlines()[-1])]
    assert sum(counts) == n_files
    assert min(counts[:2]) > 0


def test_a_checkpoint_whose_run_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    trained().save(path)
    tensors, metadata = files.read(path)
    for run in ("", "3", "{}", "null", "[" * 100_000, '{"arguments": {"array": "nothing"}}'):
        files.write(path, tensors, {**metadata, "run": run})
        with pytest.raises(ValueError, match="model is not a fastbp model: "):
            Model.resume(path)
        assert Model.load(path).parameters.tobytes() == tensors["parameters"].tobytes()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    trained().save(path)
    before = path.read_bytes()
    large = Model((100, 100, 3))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as if the disk were full after so many bytes
    try:
        with pytest.raises(OSError) as caught:
            large.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]
    large.save(path)
    assert Model.load(path).parameters.tobytes() == large.parameters.tobytes()
