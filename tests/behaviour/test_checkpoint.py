"""A fit that is killed at any moment and resumed ends in the bits of one that was left alone."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import SGD, Adam, Callback, EarlyStopping, Model
from fastbp.schedules import OnPlateau
from fastbp.storage import files

ROWS, SIZES = 96, (6, 16, 16, 3)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(ROWS, SIZES[0])), RNG.integers(0, SIZES[-1], ROWS)
OTHER_X, OTHER_Y = RNG.normal(size=(31, SIZES[0])), RNG.integers(0, SIZES[-1], 31)


def fresh(**options):
    return Model(SIZES, output="softmax", seed=3, l2=0.01, **options)


def same_history(found, expected):
    """All that does not measure time."""
    for name in ("cost", "validation_cost", "learning_rate", "epoch"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
    assert found.metrics.keys() == expected.metrics.keys()
    for name, values in found.metrics.items():
        assert values.tobytes() == expected.metrics[name].tobytes(), name


def same_model(found, expected):
    assert found.parameters.tobytes() == expected.parameters.tobytes()
    assert found.moments.tobytes() == expected.moments.tobytes()
    for name in ("updates", "epochs", "schedule", "optimizer"):
        assert getattr(found._state, name) == getattr(expected._state, name), name


class Killed(BaseException):
    pass


def killed_in_epoch(epoch):
    """A callback that ends fit there as a kill would, the file being as the last checkpoint left it."""

    def callback(state):
        if state.epoch == epoch:
            raise Killed

    return callback


class Counting(Callback):
    """Remembers how often it was called."""

    def __init__(self):
        self.calls = 0

    def after_epoch(self, state):
        self.calls += 1
        if self.calls == 3:
            raise Killed

    def state_dict(self):
        return {"calls": self.calls}

    def load_state(self, state):
        self.calls = state["calls"] + 10


RUNS = {
    "plain": {"optimizer": "adam", "epochs": 9},
    "batches": {"optimizer": SGD(0.05, 0.9), "epochs": 7, "batch_size": 10, "shuffle": False},
    "validated": {
        "epochs": 8, "validation_fraction": 0.25, "metrics": ("accuracy",), "class_weight": {1: 2.0}, "every": 2,
    },
    "stopped early": {
        "optimizer": Adam(0.05), "epochs": 200, "validation_data": (OTHER_X, OTHER_Y), "batch_size": 16,
        "early_stopping": EarlyStopping(patience=2),
    },
    "on a schedule": {
        "optimizer": Adam(OnPlateau(0.02, patience=1, factor=0.5, warm_up=9), clip_norm=0.5), "epochs": 12,
        "batch_size": 16,
    },
    "weighted": {"epochs": 6, "sample_weight": 0.5 + np.arange(ROWS) % 3, "n_threads": 2},
}  # fmt: skip
TO_GIVE_AGAIN = ("validation_data", "sample_weight")


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_ends_in_the_bits_of_the_uninterrupted_one(name, tmp_path):
    path, options = tmp_path / "run.safetensors", RUNS[name]
    alone = fresh()
    expected = alone.fit(X, Y, **{key: value for key, value in options.items() if key != "every"})
    with pytest.raises(Killed):
        fresh().fit(X, Y, checkpoint=path, callbacks=[killed_in_epoch(4)], **options)
    model = Model.resume(path)
    assert 0 < model._state.epochs < len(expected)
    again = {key: options[key] for key in TO_GIVE_AGAIN if key in options}
    history = model.fit(X, Y, **again)
    same_history(history, expected)
    same_model(model, alone)


def test_a_run_is_resumed_from_its_very_beginning_and_from_its_end(tmp_path):
    path, alone = tmp_path / "run.safetensors", fresh()
    alone.fit(X, Y, epochs=2)
    expected = alone.fit(X, Y, epochs=3)
    model = fresh()
    model.fit(X, Y, epochs=2)

    class AtOnce(Callback):
        def after_slice(self, state):
            raise Killed

    with pytest.raises(Killed):
        model.fit(X, Y, epochs=3, checkpoint=path, every=100, callbacks=[AtOnce()])
    for _ in range(3):  # begins again, and then finds the end
        model = Model.resume(path)
        same_history(model.fit(X, Y), expected)
        same_model(model, alone)
    model.fit(X, Y, epochs=1)
    alone.fit(X, Y, epochs=1)
    same_model(model, alone)


def test_a_checkpoint_is_a_model_file(tmp_path):
    path, model = tmp_path / "run.safetensors", fresh()
    model.fit(X, Y, epochs=2, checkpoint=path)
    same_model(Model.load(path), model)


def test_a_checkpoint_is_written_at_regular_epochs(tmp_path, monkeypatch):
    written = []
    write = files.write

    def counted(path, tensors, metadata):
        written.append(json.loads(metadata["model"])["epochs"])
        write(path, tensors, metadata)

    monkeypatch.setattr(files, "write", counted)
    fresh().fit(X, Y, epochs=7, checkpoint=tmp_path / "run", every=3)
    assert written == [0, 3, 6, 7]


REFUSED = {
    "epochs must be 9": {"epochs": 8},
    "batch_size must be 16": {"batch_size": 17},
    "callbacks must be the 1": {"callbacks": [print, print]},
    "optimizer must be Adam": {"optimizer": "sgd"},
    "sample_weight must be given neither": {"sample_weight": np.ones(ROWS)},
    "metrics must be as in the run": {"metrics": ("accuracy",)},
    "X, y and weights must be those": {"X": X + 1},
    "these are others": {"y": (Y + 1) % 3},
}


@pytest.mark.parametrize("message", REFUSED)
def test_another_run_is_refused_and_the_right_one_still_continues(message, tmp_path):
    path, alone = tmp_path / "run", fresh()
    expected = alone.fit(X, Y, epochs=9, batch_size=16)
    with pytest.raises(Killed):
        fresh().fit(X, Y, epochs=9, batch_size=16, checkpoint=path, callbacks=[killed_in_epoch(2)])
    model, right = Model.resume(path), {"X": X, "y": Y}
    with pytest.raises(ValueError, match=message):
        model.fit(**{**right, **REFUSED[message]})
    same_history(model.fit(**right), expected)


def test_a_callback_gets_back_what_it_knew_and_must_be_given_again(tmp_path):
    with pytest.raises(Killed):
        fresh().fit(X, Y, epochs=9, checkpoint=tmp_path / "run", callbacks=[Counting()])
    with pytest.raises(ValueError, match="callbacks must be the 1 of the run, again, got 0"):
        Model.resume(tmp_path / "run").fit(X, Y)
    counting = Counting()
    Model.resume(tmp_path / "run").fit(X, Y, callbacks=[counting])
    assert counting.calls == 2 + 10 + 7


def test_what_holds_no_run_or_cannot_be_written_says_so(tmp_path):
    fresh().save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"holds a model and no run of fit: Model\.load reads it"):
        Model.resume(tmp_path / "model")
    model = fresh()
    with pytest.raises(FileNotFoundError):
        model.fit(X, Y, checkpoint=tmp_path / "none" / "run")
    assert model._state.updates == 0
    with pytest.raises(ValueError, match="every needs a checkpoint"):
        model.fit(X, Y, every=2)
    with pytest.raises(ValueError, match="every must be a whole number >= 1"):
        model.fit(X, Y, checkpoint=tmp_path / "run", every=0)


def test_a_timeout_of_a_signal_handler_is_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def rings(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise TimeoutError("the user's")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", rings)
    with pytest.raises(TimeoutError, match="the user's"):
        fresh().fit(X, Y, epochs=6, checkpoint=tmp_path / "run", every=1)


def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_continues(tmp_path, monkeypatch):
    path, alone = tmp_path / "run", fresh()
    expected = alone.fit(X, Y, epochs=6)
    fsync, calls = os.fsync, []

    def full_for_a_while(descriptor):
        calls.append(descriptor)
        if 4 < len(calls) < 9:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_for_a_while)
    model = fresh()
    with pytest.warns(RuntimeWarning, match="a checkpoint could not be written, the last one stays.*No space left"):
        model.fit(X, Y, epochs=6, checkpoint=path)
    same_model(model, alone)
    same_history(Model.resume(path).fit(X, Y), expected)
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_relative_path_stays_where_the_run_began(tmp_path, monkeypatch):
    """Also where a callback goes to another folder, and where fit is called in another one than resume."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    alone = fresh()
    expected = alone.fit(X, Y, epochs=6)

    def away(state):
        os.chdir(second)
        if state.epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        fresh().fit(X, Y, epochs=6, checkpoint="run", callbacks=[away])
    os.chdir(first)
    model = Model.resume("run")
    os.chdir(second)
    same_history(model.fit(X, Y), expected)
    same_model(Model.load(first / "run"), alone)
    assert os.listdir(first) == ["run"]
    assert os.listdir(second) == []


def test_a_checkpoint_keeps_the_mode_of_its_file_and_is_no_pipe(tmp_path):
    path, pipe, model = tmp_path / "run", tmp_path / "pipe", fresh()
    path.touch(0o600)
    model.fit(X, Y, epochs=2, checkpoint=path)
    assert path.stat().st_mode & 0o777 == 0o600
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="a pipe without a reader"):
        fresh().fit(X, Y, epochs=2, checkpoint=pipe)
    with pytest.raises(OSError, match="not a regular file"):
        Model.resume(pipe)
    for wrong in (3, 1.5, ["run"]):
        with pytest.raises(TypeError, match="checkpoint must be a path, got "):
            model.fit(X, Y, checkpoint=wrong)


def test_parameters_that_are_not_finite_leave_the_last_checkpoint(tmp_path):
    path, model = tmp_path / "run", fresh()

    def spoil(state):
        if state.epoch == 3:
            state.model.weights[0][0, 0] = np.inf

    with pytest.raises(ValueError, match="parameters must be finite, got inf at index 0"):
        model.fit(X, Y, epochs=9, checkpoint=path, callbacks=[spoil])
    alone = fresh()
    alone.fit(X, Y, epochs=9)
    again = Model.resume(path)
    assert again._state.epochs == 2
    again.fit(X, Y)
    same_model(again, alone)


# --- what callbacks let a checkpoint keep ---------------------------------------------------------------------------


class Keeping(Callback):
    """Keeps one thing, and ends fit after the first epoch, if it has not been resumed."""

    def __init__(self, kept):
        self.kept, self.resumed = kept, False

    def after_epoch(self, state):
        if not self.resumed:
            raise Killed

    def state_dict(self):
        return self.kept

    def load_state(self, state):
        self.kept, self.resumed = state, True


@pytest.mark.parametrize(
    "kept",
    [
        {"none": None, "numbers": [1, 2.5, True, -(10**30)], "text": "größer ≥ 0", "nested": {"": [{}, [], ""]}},
        {"array": 3},
        {"array": "parameters"},
        {"array": ["run/2"]},
        {"array": {"array": {"array": [{"array": None}]}}},
        {"a/b": np.arange(3.0), "a": {"b": np.arange(4)}, "run/1": np.zeros(2)},
        {"array": np.arange(6, dtype="u1").reshape(2, 3), "0": {"array": np.zeros((0, 2), bool)}},
        {"big-endian": np.arange(3, dtype=">f4"), "strided": np.arange(9.0)[::2], "scalar": np.array(2.5)},
    ],
    ids=str,
)
def test_plain_data_and_arrays_come_back(kept, tmp_path):
    with pytest.raises(Killed):
        fresh().fit(X, Y, epochs=3, checkpoint=tmp_path / "run", callbacks=[Keeping(kept)])
    keeping = Keeping(None)
    Model.resume(tmp_path / "run").fit(X, Y, callbacks=[keeping])
    np.testing.assert_equal(keeping.kept, kept)
    assert keeping.kept.keys() == kept.keys()


@pytest.mark.parametrize(
    ("kept", "place"),
    [
        ({"seen": {1, 2}}, r"\['seen'\] must be numbers, strings, lists, dicts or None, got \{1, 2\}"),
        ({"at": [0, 1j]}, r"\['at'\]\[1\] must be numbers"),
        ({"x": np.zeros(3, complex)}, r"\['x'\] must be plain data or an array of real numbers, got one of complex128"),
        ({"x": np.array(["a"])}, r"\['x'\] must be plain data or an array of real numbers"),
        ({"x": np.zeros(3, np.longdouble)}, r"\['x'\] must be plain data or an array of real numbers"),
        ({"x": {3: 4}}, r"\['x'\] must have strings as its keys, got 3"),
        (None, "callbacks.0. must be a dict, got None"),
        ([1], "callbacks.0. must be a dict, got "),
    ],
    ids=str,
)
def test_what_a_callback_may_not_keep_is_refused_before_the_first_epoch(kept, place, tmp_path):
    path, model = tmp_path / "run", fresh()
    model.save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match=place):
        model.fit(X, Y, epochs=3, checkpoint=path, callbacks=[Keeping(kept)])
    assert model._state.updates == 0
    assert path.read_bytes() == before


# --- forged files: the checksum is right ----------------------------------------------------------------------------

HOSTILE = (
    None, True, False, -1, 0, 0.5, 1e308, 10**30, 2**53, 2**63 - 1, float("nan"), float("inf"), "x", "accuracy",
    [], [[]], [[1, 2]], {}, {"array": "parameters"}, {"array": "none"}, {"array": []}, {"array": [1]}, {"array": None},
)  # fmt: skip


def places(data, place=()):
    """Of all leaves and branches."""
    yield place
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, item in items:
        yield from places(item, (*place, key))


def replaced(data, place, value):
    if not place:
        return value
    key, *inner = place
    result = data.copy()
    result[key] = replaced(data[key], inner, value)
    return result


def removed(data, place):
    *above, key = place
    for step in above:
        data = data[step]
    return {name: value for name, value in data.items() if name != key} if isinstance(data, dict) else data[:-1]


def forgeries(data):
    for place in places(data):
        for value in HOSTILE:
            endless = place == ("arguments", "epochs") and isinstance(value, int) and value > 100
            if not endless:
                yield place, value, replaced(data, place, value)
        if place:
            yield place, "removed", replaced(data, place[:-1], removed(data, place))


@pytest.mark.parametrize("part", ["run", "model"])
def test_a_forged_checkpoint_is_refused_or_continues(part, tmp_path, monkeypatch):
    """Each field of a run and of its model in turn is each of the hostile values, or is missing."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of files
    path, small, again = tmp_path / "run", {"X": X[:20], "y": Y[:20]}, {"validation_data": (OTHER_X[:5], OTHER_Y[:5])}
    with pytest.raises(Killed):
        Model((6, 4, 3), output="softmax", seed=1, dropout=0.1).fit(
            **small, **again, epochs=4, batch_size=8, optimizer=Adam(OnPlateau(0.01, patience=1)), every=1,
            metrics=("accuracy",), class_weight={1: 2.0}, early_stopping=EarlyStopping(3), checkpoint=path,
            callbacks=[killed_in_epoch(3)],
        )  # fmt: skip
    tensors, metadata = files.read(path)
    outcomes = {"refused by resume": 0, "refused by fit": 0, "went on": 0}
    for place, value, forged in forgeries(json.loads(metadata[part])):
        files.write(path, tensors, {**metadata, part: json.dumps(forged)})
        outcome = "refused by resume"
        try:
            model = Model.resume(path)
            outcome = "refused by fit"
            model.fit(**small, **again)
            outcome = "went on"
        except ValueError as error:
            assert outcome == "refused by fit" or str(error).startswith(f"{path} "), (place, value)  # noqa: PT017
        except FloatingPointError:  # by an optimizer with hostile, but right settings
            assert part == "model"
        except Exception as error:
            raise AssertionError(f"{'/'.join(map(str, place))} = {value!r}") from error
        outcomes[outcome] += 1
    assert min(outcomes.values()) > 0
    assert outcomes["refused by resume"] > 0.7 * sum(outcomes.values())


def test_a_run_that_does_not_fit_its_model_or_itself_is_refused_by_the_name_of_the_file(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        fresh().fit(
            X, Y, epochs=9, checkpoint=path, callbacks=[Counting()], early_stopping=EarlyStopping(5, monitor="cost")
        )
    tensors, metadata = files.read(path)
    run = json.loads(metadata["run"])
    state = run["state"]
    for field, value, text in (
        ("steps_done", state["steps_done"] + 3, "there must be 3 epochs"),
        ("updates_before", 1, "the model must have made 7 updates, got 6"),
        ("callbacks", [{"no": 1}, state["callbacks"][1]], "it has no 'calls'"),
    ):
        files.write(path, tensors, {**metadata, "run": json.dumps({**run, "state": {**state, field: value}})})
        with pytest.raises(ValueError, match=text) as caught:
            Model.resume(path).fit(X, Y, callbacks=[Counting()])
        assert str(caught.value).startswith(f"{path} holds a run that cannot go on: ")


KILLS = """
    import os, random, signal, sys, time
    import numpy as np
    from fastbp import Adam, EarlyStopping, Model

    path, wanted = sys.argv[1], int(sys.argv[2])
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 6)), rng.integers(0, 3, 400)
    options = {"validation_data": (X[:50], y[:50])}

    def run(model, **more):
        return model.fit(X, y, **options, **more)

    def begin():
        return Model((6, 24, 24, 3), output="softmax", seed=1)

    plan = {"epochs": 15, "batch_size": 16, "optimizer": Adam(0.01), "metrics": ("accuracy",),
            "early_stopping": EarlyStopping(patience=12)}
    alone = begin()
    expected = run(alone, **plan)
    start = time.perf_counter()  # nothing is compiled any more
    run(begin(), checkpoint=path, **plan)
    seconds = time.perf_counter() - start
    random.seed(2)
    kills = runs = 0
    while kills < wanted or runs == 0:
        if os.path.exists(path):
            os.unlink(path)
        while True:
            child = os.fork()
            if child == 0:
                if os.path.exists(path):
                    run(Model.resume(path))
                else:
                    run(begin(), checkpoint=path, **plan)
                os._exit(0)
            if kills < wanted:
                time.sleep(random.uniform(0, seconds / 3))
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if status == 0:
                break
            assert os.WTERMSIG(status) == signal.SIGKILL, status
            kills += 1
        runs += 1
        model = Model.resume(path)
        history = run(model)
        for name in ("cost", "validation_cost", "learning_rate"):
            assert getattr(history, name).tobytes() == getattr(expected, name).tobytes(), name
        assert history.metrics["accuracy"].tobytes() == expected.metrics["accuracy"].tobytes()
        assert model.parameters.tobytes() == alone.parameters.tobytes()
        assert model.moments.tobytes() == alone.moments.tobytes()
    print(kills, "kills", runs, "runs")
"""


@pytest.mark.long
def test_a_run_survives_50_kills_at_random_moments(tmp_path):
    script = tmp_path / "kills.py"
    script.write_text(textwrap.dedent(KILLS))
    environment = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, tmp_path / "run.safetensors", "50"],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kills, _, runs, _ = done.stdout.split()
    assert int(kills) >= 50
    assert int(runs) >= 1
