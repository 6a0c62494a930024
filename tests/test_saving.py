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
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp import SGD, Activation, Adam, AdamW, Loss, Model, NAdam, Network
from fastbp.schedules import Cosine, OnPlateau, Progress
from fastbp.storage import files
from fastbp.storage.model_state import ABSENT

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
        assert model.parameters.tobytes() == before.tobytes()  # the copy has separate memory
        model.fit(X, CLASSES, epochs=1, batch_size=16)
        assert twin.parameters.tobytes() == model.parameters.tobytes() != before.tobytes()


def test_a_container_of_models_is_copied_as_one() -> None:
    model = trained()
    first, second = copy.deepcopy([model, model])
    assert first is second
    assert first is not model


# --- what is kept is read again, or refused -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("way", WAYS)
def test_parameters_that_are_not_finite_are_refused_and_the_good_file_stays(
    way: str, bad: float, tmp_path: Path
) -> None:
    model = trained()
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    model.biases[0][2] = bad
    with pytest.raises(ValueError, match=f"parameters must be finite, got {bad} at index 22"):
        WAYS[way](model, tmp_path)
    assert (tmp_path / "model").read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("way", WAYS)
def test_moments_that_are_not_finite_are_kept(way: str, tmp_path: Path) -> None:
    """The parameters, which are the last finite ones, may still be wanted after a divergence."""
    model = trained()
    model.moments[::3] = np.inf
    model.moments[1::3] = np.nan
    twin = WAYS[way](model, tmp_path)
    assert twin.moments.tobytes() == model.moments.tobytes()
    assert twin.parameters.tobytes() == model.parameters.tobytes()


@pytest.mark.parametrize("way", WAYS)
def test_numbers_of_other_libraries_are_kept(way: str, tmp_path: Path) -> None:
    schedule = Cosine(np.float32(0.1), steps=np.int64(50), end=np.float16(0), warm_up=np.uint8(3))
    for optimizer in (
        SGD(np.float32(0.1), momentum=np.float16(0.5), nesterov=np.True_, clip_norm=np.int32(2)),
        Adam(schedule, epsilon=np.longdouble(1e-7)),
    ):
        model = trained(optimizer=optimizer, l1=np.float32(0.5), label_smoothing=np.float64(0.125))
        twin = WAYS[way](model, tmp_path)
        assert twin.optimizer == model.optimizer
        assert (twin.l1, twin.label_smoothing) == (0.5, 0.125)
        for each in (model, twin):
            each.fit(X, CLASSES, epochs=1)
        assert twin.parameters.tobytes() == model.parameters.tobytes()


@pytest.mark.parametrize("way", WAYS)
def test_another_optimizer_begins_without_the_moments_of_the_one_before(way: str, tmp_path: Path) -> None:
    for optimizer in (SGD(0.1), SGD(0.1, momentum=0.5), NAdam()):
        model = trained(optimizer="adam")
        model.optimizer = optimizer
        twin = WAYS[way](model, tmp_path)
        for each in (model, twin):
            each.fit(X, CLASSES, epochs=1, optimizer=twin.optimizer)
        assert twin.parameters.tobytes() == model.parameters.tobytes()


SQUARE = Activation(lambda z: z * z, lambda z: 2 * z, name="square")
QUARTIC = Loss(lambda a, y: (a - y) ** 4, lambda a, y: 4 * (a - y) ** 3, name="quartic")
HOSTILE = st.sampled_from(
    [
        None, True, 0, 1, -1, 3, 2**53, 2**63 - 1, 2**63, 10**30, 0.5, 1e-320, 1e308, np.inf, np.nan, np.float32(0.1),
        np.int8(1), "", "x", "relu", "sgd", "mse", (), (0.5,), (0.5, 0.5), [], {}, object(), SQUARE, QUARTIC, Adam(),
        Adam(1e308, epsilon=5e-324, clip_norm=1e-300), AdamW(weight_decay=1e300), NAdam(momentum_decay=1e300),
        SGD(OnPlateau(5e-324, patience=2**62), momentum=1 - 2**-53), Network((4, 5, 3)), Network((4, 3)),
        np.dtype("float64"), np.zeros(43, "f4"), np.full(43, np.inf, "f4"), np.zeros(86), np.zeros((2, 43), "f4"),
        Progress(begun=2**62), Progress(waited=2**53), Progress(best=-1e308), lambda z: z,
    ]
)  # fmt: skip
ATTRIBUTES = st.sampled_from(
    [
        "network",
        "dropout",
        "dtype",
        "loss",
        "reduction",
        "label_smoothing",
        "seed",
        "l1",
        "l2",
        "optimizer",
        "_state.theta",
        "_state.moments",
        "_state.updates",
        "_state.epochs",
        "_state.schedule",
    ]
)


def put(model: Model, name: str, value: Any) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(model._state if owner else model, attribute, value)


@given(st.dictionaries(ATTRIBUTES, HOSTILE, min_size=1, max_size=3))
def test_what_save_writes_load_reads_or_save_refuses_it_before_it_touches_the_file(changes: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder) / "model", trained(optimizer="adam", dropout=0.25)
        model.save(path)
        before = path.read_bytes()
        for name, value in changes.items():
            put(model, name, value)
        try:
            model.save(path)
        except ValueError as error:
            assert str(error).startswith("the model cannot be saved: ")  # noqa: PT017
            assert path.read_bytes() == before
        else:
            saved = contents(path)
            twin = Model.load(path, custom=[SQUARE, QUARTIC])
            assert twin.parameters.tobytes() == model.parameters.tobytes()
            twin.save(path)
            assert contents(path) == saved
        assert os.listdir(folder) == ["model"]


def contents(path: Path) -> tuple[Any, dict[str, bytes]]:
    tensors, metadata = files.read(path)
    return json.loads(metadata["model"]), {name: tensor.tobytes() for name, tensor in tensors.items()}


def test_most_of_what_a_model_holds_may_be_changed_and_is_saved() -> None:
    """So that the test above refuses what is wrong and no more."""
    for name, value in {
        "dropout": (0.5,), "loss": "squared_error", "reduction": "sum", "label_smoothing": 0.5, "seed": 2**63 - 1,
        "l1": 1e308, "l2": np.float32(0.1), "optimizer": "sgd", "_state.updates": 2**53, "_state.epochs": np.int64(7),
    }.items():  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            model = trained()
            put(model, name, value)
            model.save(Path(folder) / "model")
            assert Path(folder, "model").exists()


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


def test_a_pipe_is_no_model_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (Model.load, Model.resume):
        with pytest.raises(OSError, match=r"not a regular file.*pipe"):
            read(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"a pipe without a reader.*pipe"):
        trained().save(tmp_path / "pipe")


def test_a_forged_count_that_no_training_can_reach_is_refused(tmp_path: Path) -> None:
    """Whatever is read, the counts after it fit in int64."""
    path = tmp_path / "model"
    trained().save(path)
    tensors, metadata = files.read(path)
    good = json.loads(metadata["model"])
    for name in ("updates", "epochs"):
        for count, is_read in ((2**53, True), (2**53 + 1, False), (2**63 - 1, False)):
            files.write(path, tensors, {"model": json.dumps({**good, name: count})})
            if is_read:
                Model.load(path).fit(X, CLASSES, epochs=2)
            else:
                with pytest.raises(ValueError, match=rf"model is not a fastbp model: {name} must be at most 2\*\*53"):
                    Model.load(path)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    trained().save(path)
    before = path.read_bytes()
    large = Model((100, 100, 3))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as if the disk were full after 20,000 bytes
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
