"""Bad input through the public API: the error names the argument and what came; the model stays as it was."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from against_twin import model_with

from fastbp import SGD, Adam, Model
from fastbp.storage import files
from fastbp.storage.model_state import ABSENT

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4)).astype("float32")
CLASSES = RNG.integers(0, 3, 20)
REAL = RNG.normal(size=(20, 3)).astype("float32")
BITS = RNG.integers(0, 2, (20, 3)).astype("float32")


def classifier() -> Model:
    return Model((4, 6, 3), output="softmax", seed=1)


def regressor() -> Model:
    return Model((4, 6, 3), hidden="tanh", seed=1)


def tagger() -> Model:
    return Model((4, 6, 3), output="sigmoid", seed=1)


GOOD_TARGETS: dict[Callable[[], Model], Any] = {classifier: CLASSES, regressor: REAL, tagger: BITS}


def trained(make: Callable[[], Model]) -> Model:
    """A model in the middle of training: with moments and a shuffling state."""
    model = make()
    model.fit(X, GOOD_TARGETS[make], epochs=2, batch_size=8, optimizer="adam")
    return model


@contextmanager
def unchanged(model: Model) -> Iterator[None]:
    """Afterwards the parameters, the optimizer, its state and the shuffling are what they were before."""
    twin = copy.deepcopy(model)
    yield
    assert model.parameters.tobytes() == twin.parameters.tobytes()
    assert model.optimizer == twin.optimizer
    make = {"cross_entropy": classifier, "squared_error": regressor, "binary_cross_entropy": tagger}[model.loss]
    for each in (model, twin):
        each.fit(X, GOOD_TARGETS[make], epochs=1, batch_size=8)
    assert model.parameters.tobytes() == twin.parameters.tobytes()


@contextmanager
def refuses(error: type[Exception], *parts: str) -> Iterator[None]:
    """Exactly this error, with a message that begins with the first part and has the others in order."""
    with pytest.raises(error, match="^" + ".*".join(re.escape(part) for part in parts)) as caught:
        yield
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def with_value(a: np.ndarray, index: int | tuple[int, ...], value: float) -> np.ndarray:
    result = a.astype("float64")
    result[index] = value
    return result


# Inputs -----------------------------------------------------------------------------------------------------

# A model of float32 refuses what overflows, but check_gradient computes in float64.
OVERFLOW = ("overflow", "number too large", "sum")

# Every method that takes X: how it is called, and what its message calls X.
TAKES_X: dict[str, tuple[Callable[[Model, Any], Any], str]] = {
    "predict": (lambda model, X: model.predict(X), "X"),
    "forward": (lambda model, X: model.forward(X), "X"),
    "fit": (lambda model, X: model.fit(X, CLASSES), "X"),
    "evaluate": (lambda model, X: model.evaluate(X, CLASSES), "X"),
    "value_and_gradient": (lambda model, X: model.value_and_gradient(X, CLASSES), "X"),
    "backward": (lambda model, X: model.backward(X, CLASSES), "X"),
    "check_gradient": (lambda model, X: model.check_gradient(X, CLASSES), "X"),
    "validation_data": (
        lambda model, V: model.fit(X, CLASSES, validation_data=(V, CLASSES)),
        "validation_data",
    ),
}
BAD_X: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
    "columns": (X[:, :3], ValueError, ("4 columns (the network's inputs)", "got shape (20, 3)")),
    "one row flat": (X[0], ValueError, ("2-D", "got shape (4,)", "reshape(1, -1)")),
    "three axes": (X[None], ValueError, ("2-D", "got shape (1, 20, 4)")),
    "empty": (X[:0], ValueError, ("at least 1 row", "got shape (0, 4)")),
    "nothing": ([], ValueError, ("2-D", "got shape (0,)")),
    "ragged": ([[1, 2, 3, 4], [1, 2]], ValueError, ("rectangular",)),
    "nan": (with_value(X, (7, 2), np.nan), ValueError, ("finite", "got nan in row 7, column 2")),
    "infinite": (with_value(X, (0, 3), -np.inf), ValueError, ("finite", "got -inf in row 0, column 3")),
    "overflow": (
        with_value(X, (19, 1), 1e39),
        ValueError,
        ("fit in float32", "got 1e+39 in row 19, column 1"),
    ),
    "object": (X.astype(object), TypeError, ("real numbers", "object")),
    "complex": (X.astype(complex), TypeError, ("real numbers", "complex128")),
    "text": (X.astype(str), TypeError, ("real numbers", "<U")),
    "none": (None, TypeError, ("real numbers", "NoneType")),
}


@pytest.mark.parametrize("bad", BAD_X)
@pytest.mark.parametrize("method", TAKES_X)
def test_bad_inputs_are_refused(method: str, bad: str) -> None:
    if method == "check_gradient" and bad in OVERFLOW:
        return
    model = trained(classifier)
    call, name = TAKES_X[method]
    value, error, message = BAD_X[bad]
    with unchanged(model), refuses(error, name, *message):
        call(model, value)


def test_predict_finds_what_is_not_finite_wherever_it_is() -> None:
    """In the first and the last of many pieces, in a row alone, and beside a block's other rows."""
    model, rows = Model((4, 6, 3), output="softmax"), 200_000
    for dtype in ("float32", "float64"):
        X = np.zeros((rows, 4), dtype)
        for row in (0, 95, 96, rows - 1):
            X[row, 3] = np.nan
            with pytest.raises(ValueError, match=f"^X must be finite, got nan in row {row}, column 3$"):
                model.predict(X)
            X[row, 3] = 0
        assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("method", TAKES_X)
def test_a_double_model_takes_what_overflows_a_single_one(method: str) -> None:
    model = Model((4, 6, 3), hidden="tanh", output="softmax", dtype="float64")
    call, name = TAKES_X[method]
    huge = with_value(X, (3, 1), 1e39)
    call(model, huge)
    with refuses(ValueError, name, "finite", "got inf in row 3, column 1"):
        call(model, with_value(X, (3, 1), np.inf))


# Targets and weights ----------------------------------------------------------------------------------------

TAKES_Y: dict[str, tuple[Callable[..., Any], str]] = {
    "fit": (lambda model, y, w=None: model.fit(X, y, sample_weight=w), ""),
    "evaluate": (lambda model, y, w=None: model.evaluate(X, y, w), ""),
    "value_and_gradient": (lambda model, y, w=None: model.value_and_gradient(X, y, w), ""),
    "backward": (lambda model, y, w=None: model.backward(X, y, w), ""),
    "check_gradient": (lambda model, y, w=None: model.check_gradient(X, y, w), ""),
    "validation_data": (
        lambda model, y, w=None: model.fit(
            X,
            {"cross_entropy": CLASSES, "squared_error": REAL, "binary_cross_entropy": BITS}[model.loss],
            validation_data=(X, y) if w is None else (X, y, w),
        ),
        "validation_data",
    ),
}
EYE = np.eye(3)[CLASSES]
BAD_Y: dict[str, tuple[Callable[[], Model], Any, type[Exception], tuple[str, ...]]] = {
    "rows of classes": (classifier, CLASSES[:19], ValueError, ("20 rows", "got shape (19,)")),
    "rows of probabilities": (classifier, EYE[:19], ValueError, ("20 rows", "got shape (19, 3)")),
    "rows of numbers": (regressor, REAL[:1], ValueError, ("20 rows", "got shape (1, 3)")),
    "columns": (regressor, REAL[:, :2], ValueError, ("(20, 3)", "got shape (20, 2)")),
    "column of classes": (
        classifier,
        CLASSES[:, None],
        ValueError,
        ("(20, 3)", "got shape (20, 1)", "ravel()"),
    ),
    "one column missing": (tagger, BITS[:, 0], ValueError, ("(20, 3)", "got shape (20,)")),
    "no rows": (regressor, REAL[:0], ValueError, ("20 rows", "got shape (0, 3)")),
    "label too large": (
        classifier,
        with_value(CLASSES, 5, 3),
        ValueError,
        ("from 0 to 2", "got 3.0 at index 5"),
    ),
    "label negative": (classifier, np.full(20, -1), ValueError, ("from 0 to 2", "got -1 at index 0")),
    "label not whole": (classifier, with_value(CLASSES, 9, 0.5), ValueError, ("whole", "got 0.5 at index 9")),
    "label nan": (classifier, with_value(CLASSES, 9, np.nan), ValueError, ("finite", "got nan at index 9")),
    "label text": (classifier, ["a", "b"] * 10, TypeError, ("real numbers", "<U1")),
    "probability negative": (
        classifier,
        with_value(EYE, (4, 2), -1),
        ValueError,
        ("probabilities", "got -1.0 in row 4, column 2"),
    ),
    "probabilities not 1": (classifier, EYE * 0.5, ValueError, ("sum to 1", "got a sum of 0.5 in row 0")),
    "number nan": (
        regressor,
        with_value(REAL, (2, 1), np.nan),
        ValueError,
        ("finite", "got nan in row 2, column 1"),
    ),
    "number infinite": (
        regressor,
        with_value(REAL, (2, 1), np.inf),
        ValueError,
        ("finite", "in row 2, column 1"),
    ),
    "number too large": (
        regressor,
        with_value(REAL, (2, 1), 1e39),
        ValueError,
        ("fit in float32", "got 1e+39 in row 2, column 1"),
    ),
    "bit above 1": (
        tagger,
        with_value(BITS, (8, 0), 1.5),
        ValueError,
        ("[0, 1]", "got 1.5 in row 8, column 0"),
    ),
    "bit below 0": (
        tagger,
        with_value(BITS, (8, 0), -1),
        ValueError,
        ("[0, 1]", "got -1.0 in row 8, column 0"),
    ),
    "object": (regressor, REAL.astype(object), TypeError, ("real numbers", "object")),
    "complex": (tagger, BITS.astype(complex), TypeError, ("real numbers", "complex128")),
    "none": (regressor, None, ValueError, ("20 rows",)),
}
BAD_W: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
    "rows": (np.ones(19), ValueError, ("(20,)", "got shape (19,)")),
    "column": (np.ones((20, 1)), ValueError, ("(20,)", "got shape (20, 1)")),
    "negative": (with_value(np.ones(20), 6, -0.5), ValueError, ("negative", "got -0.5 at index 6")),
    "all zero": (np.zeros(20), ValueError, ("all zero",)),
    "nan": (with_value(np.ones(20), 6, np.nan), ValueError, ("finite", "got nan at index 6")),
    "infinite": (with_value(np.ones(20), 6, np.inf), ValueError, ("finite", "got inf at index 6")),
    "overflow": (with_value(np.ones(20), 6, 1e39), ValueError, ("fit in float32", "got 1e+39 at index 6")),
    "sum": (np.full(20, 3e38), ValueError, ("sum", "float32", "6e+39")),
    "object": (np.ones(20, object), TypeError, ("real numbers", "object")),
}


@pytest.mark.parametrize("bad", BAD_Y)
@pytest.mark.parametrize("method", TAKES_Y)
def test_bad_targets_are_refused(method: str, bad: str) -> None:
    if method == "check_gradient" and bad in OVERFLOW:
        return
    make, value, error, message = BAD_Y[bad]
    model = trained(make)
    call, name = TAKES_Y[method]
    error, message = (TypeError, ("real numbers",)) if value is None else (error, message)
    with unchanged(model), refuses(error, name or "y", *message):
        call(model, value)


@pytest.mark.parametrize("bad", BAD_W)
@pytest.mark.parametrize("method", TAKES_Y)
def test_bad_weights_are_refused(method: str, bad: str) -> None:
    if method == "check_gradient" and bad in OVERFLOW:
        return
    model = trained(regressor)
    call, name = TAKES_Y[method]
    value, error, message = BAD_W[bad]
    with unchanged(model), refuses(error, name or "sample_weight", *message):
        call(model, REAL, value)


@pytest.mark.parametrize("wrong", [X, (X,), (X, CLASSES, None, None), 3, "abc"])
def test_validation_data_are_two_or_three_arrays(wrong: Any) -> None:
    model = trained(classifier)
    with unchanged(model), pytest.raises((ValueError, TypeError), match=r"^validation_data must "):
        model.fit(X, CLASSES, validation_data=wrong)


# Options of fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": -1}, ValueError, ("epochs", "got -1")),
        ({"epochs": 1.5}, TypeError, ("epochs", "got 1.5")),
        ({"batch_size": 0}, ValueError, ("batch_size", "got 0")),
        ({"batch_size": -3}, ValueError, ("batch_size", "got -3")),
        ({"batch_size": 8.0}, TypeError, ("batch_size", "got 8.0")),
        ({"batch_size": "8"}, TypeError, ("batch_size", "got '8'")),
        ({"n_threads": 0}, ValueError, ("n_threads", "got 0")),
        ({"n_threads": -1}, ValueError, ("n_threads", "got -1")),
        ({"n_threads": 2.5}, TypeError, ("n_threads", "got 2.5")),
        ({"optimizer": "adma"}, ValueError, ("optimizer", "got 'adma'", "did you mean 'adam'")),
        ({"optimizer": "SDG"}, ValueError, ("optimizer", "got 'SDG'", "did you mean 'sgd'")),
        ({"optimizer": 0.1}, TypeError, ("optimizer", "got 0.1")),
        ({"optimizer": Adam}, TypeError, ("optimizer",)),
        ({"optimizer": SGD(0.5), "shuffle": "yes"}, TypeError, ("shuffle", "got 'yes'")),
        ({"optimizer": SGD(0.5), "progress": "yes"}, TypeError, ("progress", "got 'yes'")),
        ({"optimizer": SGD(0.5), "n_threads": 0}, ValueError, ("n_threads", "got 0")),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], error: type[Exception], message: tuple[str, ...]) -> None:
    model = trained(classifier)
    with unchanged(model), refuses(error, *message):
        model.fit(X, CLASSES, **options)


@pytest.mark.parametrize("make", [SGD, Adam])
@pytest.mark.parametrize("rate", [0, -0.1, np.nan, np.inf])
def test_learning_rates_are_positive(make: Any, rate: float) -> None:
    with refuses(ValueError, "learning_rate must ", f"got {rate!r}"):
        make(learning_rate=rate)
    with refuses(TypeError, "learning_rate must ", "got '0.1'"):
        make(learning_rate="0.1")


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (SGD, {"momentum": 1.0}),
        (SGD, {"momentum": -0.1}),
        (SGD, {"momentum": np.nan}),
        (Adam, {"beta_1": 1.0}),
        (Adam, {"beta_1": -0.1}),
        (Adam, {"beta_2": 1}),
        (Adam, {"beta_2": np.nan}),
        (Adam, {"epsilon": -1e-8}),
        (Adam, {"epsilon": np.inf}),
    ],
)
def test_the_other_numbers_of_an_optimizer_are_checked_too(make: Any, options: dict[str, float]) -> None:
    ((name, value),) = options.items()
    with refuses(ValueError, f"{name} must ", f"got {value!r}"):
        make(**options)


# The constructor --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": (4, 0, 3)}, ValueError, ("sizes", "got 0")),
        ({"sizes": (4, -1)}, ValueError, ("sizes", "got -1")),
        ({"sizes": (4,)}, ValueError, ("sizes", "at least", "got (4,)")),
        ({"sizes": ()}, ValueError, ("sizes", "at least", "got ()")),
        ({"sizes": 4}, TypeError, ("sizes", "got 4")),
        ({"sizes": (4, 2.5)}, TypeError, ("sizes", "got 2.5")),
        ({"hidden": "rleu"}, ValueError, ("hidden", "got 'rleu'", "did you mean 'relu'")),
        ({"hidden": ["relu", "tahn"]}, ValueError, ("hidden", "got 'tahn'", "did you mean 'tanh'")),
        ({"hidden": ["relu"]}, ValueError, ("hidden",)),
        ({"hidden": "softmax"}, ValueError, ("hidden", "got 'softmax'")),
        ({"hidden": 3}, TypeError, ("hidden", "got 3")),
        ({"output": "sotfmax"}, ValueError, ("output", "got 'sotfmax'", "did you mean 'softmax'")),
        ({"output": 3}, TypeError, ("output", "got 3")),
        (
            {"loss": "crossentropy"},
            ValueError,
            ("loss", "got 'crossentropy'", "did you mean 'cross_entropy'"),
        ),
        ({"loss": 1}, TypeError, ("loss", "got 1")),
        ({"reduction": "average"}, ValueError, ("reduction", "got 'average'")),
        ({"dtype": "float16"}, ValueError, ("dtype", "float32 or float64", "float16")),
        ({"dtype": int}, ValueError, ("dtype", "float32 or float64", "int")),
        ({"dtype": "single precision"}, TypeError, ("dtype", "float32 or float64", "single precision")),
        ({"seed": -1}, ValueError, ("seed", "got -1")),
        ({"seed": 0.5}, TypeError, ("seed", "got 0.5")),
        ({"bias": "no"}, TypeError, ("bias", "got 'no'")),
        ({"initial": "he_norml"}, ValueError, ("initial", "got 'he_norml'", "did you mean 'he_normal'")),
        ({"initial": np.zeros(3)}, ValueError, ("initial", "got shape (3,)")),
        ({"initial": np.full(93, np.nan)}, ValueError, ("initial", "finite", "got nan at index 0")),
        ({"initial": np.full(93, 1e39)}, ValueError, ("initial", "fit in float32", "got 1e+39 at index 0")),
    ],
)
def test_bad_arguments_of_the_constructor_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: tuple[str, ...]
) -> None:
    with refuses(error, *message):
        Model(**{"sizes": (4, 6, 6, 3), **arguments})


# Parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["parameters", "theta"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda theta: theta[:-1], ValueError, ("(51,)", "got shape (50,)")),
        (lambda theta: theta[None], ValueError, ("(51,)", "got shape (1, 51)")),
        (lambda theta: 1.0, ValueError, ("(51,)", "got shape ()")),
        (lambda theta: with_value(theta, 50, np.nan), ValueError, ("finite", "got nan at index 50")),
        (lambda theta: with_value(theta, 3, 1e39), ValueError, ("fit in float32", "got 1e+39 at index 3")),
        (lambda theta: theta.astype(complex), TypeError, ("real numbers", "complex128")),
        (lambda theta: "he_normal", TypeError, ("real numbers", "str")),
    ],
)
def test_bad_parameters_are_refused(
    change: Callable[[np.ndarray], Any], error: type[Exception], message: tuple[str, ...], name: str
) -> None:
    model = trained(regressor)
    theta = change(model.parameters)
    with unchanged(model), refuses(error, name, *message):
        if name == "theta":
            model.value_and_gradient(X, REAL, theta=theta)
        else:
            model.parameters = theta


# Files ------------------------------------------------------------------------------------------------------


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good"
    classifier().save(good)
    whole = good.read_bytes()
    assert Model.load(good).predict(X).shape == (20, 3)
    for n in [0, 1, 7, 8, 9, 50, len(whole) // 2, len(whole) - 1]:
        bad = tmp_path / f"first {n} bytes"
        bad.write_bytes(whole[:n])
        with refuses(ValueError, f"{bad} is not a fastbp model: "):
            Model.load(bad)
    for i, text in enumerate([b"no model", b"\x80\x04K\x01.", bytes(1000), b"\xff" * 1000, whole + b"more"]):
        bad = tmp_path / f"other {i}"
        bad.write_bytes(text)
        with refuses(ValueError, f"{bad} is not a fastbp model: "):
            Model.load(bad)
    with pytest.raises(FileNotFoundError, match="missing"):
        Model.load(tmp_path / "missing")


def test_no_corrupted_byte_gives_anything_but_a_model_or_a_clear_error(tmp_path: Path) -> None:
    good = tmp_path / "good"
    regressor().save(good)
    whole = good.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    bad = tmp_path / "bad"
    for at in range(min(len(whole), header + 64)):
        changed = bytearray(whole)
        changed[at] ^= 0x11
        bad.write_bytes(changed)
        try:
            model = Model.load(bad)
        except ValueError as error:
            assert str(error).startswith(f"{bad} ")  # noqa: PT017
        else:
            assert np.isfinite(model.parameters).all()
            assert model.predict(np.zeros((1, model.network.n_inputs))).shape == (1, model.network.n_outputs)


def test_files_that_describe_no_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    trained(classifier).save(path)
    tensors, metadata = files.read(path)
    good = json.loads(metadata["model"])

    def is_refused(description: Any, tensors: dict[str, np.ndarray] = tensors) -> None:
        files.write(path, tensors, {"model": json.dumps(description)})
        with refuses(ValueError, f"{path} is not a fastbp model: "):
            Model.load(path)

    for wrong in (None, 3, "model", [], [good], {}, {**good, "unknown": 1}):
        is_refused(wrong)
    for key in good:
        if key not in ABSENT:
            is_refused({k: v for k, v in good.items() if k != key})
        is_refused({**good, key: {"no": "such value"}})
    is_refused({**good, "schedule": {**good["schedule"], "begun": good["updates"] + 1}})
    for key in good["optimizer"]:
        is_refused({**good, "optimizer": {**good["optimizer"], key: -1}})
    for name in tensors:
        is_refused(good, {k: v for k, v in tensors.items() if k != name})
        is_refused(good, {**tensors, name: tensors[name][:-1]})
        is_refused(good, {**tensors, name: tensors[name].astype("f8")})
    is_refused(good, {**tensors, "parameters": tensors["parameters"] * np.nan})


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "model"
    path.parent.mkdir()
    classifier().save(path)
    before = path.read_bytes()
    shutil.copy(path, tmp_path / "copy")
    with pytest.raises(OSError, match="missing"):
        classifier().save(tmp_path / "missing" / "model")
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["model"]


# Everything in a row ----------------------------------------------------------------------------------------


def test_a_hundred_refusals_later_training_goes_on_as_if_nothing_had_been() -> None:
    model = trained(classifier)
    with unchanged(model):
        for call, _ in TAKES_X.values():
            for value, error, _ in (BAD_X[bad] for bad in BAD_X if bad != "overflow"):
                with pytest.raises(error):
                    call(model, value)


def test_refused_data_do_not_replace_the_optimizer() -> None:
    model = trained(classifier)
    with unchanged(model), pytest.raises(ValueError, match=r"^X "):
        model.fit(X[:, :3], CLASSES, optimizer=SGD(0.5))
    with unchanged(model), pytest.raises(ValueError, match=r"^batch_size "):
        model.fit(X, CLASSES, optimizer=SGD(0.5), batch_size=0)


# What is not bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_form_of_the_same_numbers_trains_to_the_same_bits(dtype: str, tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(-8, 8, (37, 4))
    y = np.random.default_rng(2).integers(0, 3, 37)
    right = numbers.astype(dtype)
    read_only = right.copy()
    read_only.flags.writeable = False
    mapped = np.memmap(tmp_path / "X", dtype, "w+", shape=right.shape)
    mapped[:] = right
    forms: dict[str, Any] = {
        "read-only": read_only,
        "memmap": mapped,
        "read-only memmap": np.memmap(tmp_path / "X", dtype, "r", shape=right.shape),
        "list": numbers.tolist(),
        "int8": numbers.astype("i1"),
        "int64": numbers,
        "float16": numbers.astype("f2"),
        "longdouble": numbers.astype("g"),
        "big-endian": right.astype(right.dtype.newbyteorder(">")),
        "Fortran": np.asfortranarray(right),
        "strided": np.repeat(np.repeat(right, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": right[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": np.frombuffer(b"\0" + right.tobytes(), "u1")[1:].view(dtype).reshape(right.shape),
    }
    model = Model((4, 8, 3), output="softmax", dtype=dtype)
    model.fit(right, y, epochs=3, batch_size=10)
    for name, form in forms.items():
        same = Model((4, 8, 3), output="softmax", dtype=dtype)
        labels = y.astype("f4") if name == "Fortran" else y.astype("u1") if name == "int8" else y.tolist()
        same.fit(form, labels, epochs=3, batch_size=10)
        assert same.parameters.tobytes() == model.parameters.tobytes(), name
        assert same.predict(form).tobytes() == model.predict(right).tobytes(), name
    assert (mapped == right).all()


def test_no_method_writes_into_what_it_is_given() -> None:
    model = regressor()
    theta = model.parameters.copy()
    weight = np.ones(20, "float32")
    given = [X, REAL, weight, theta]
    before = [a.copy() for a in given]
    for a in given:
        a.flags.writeable = False
    try:
        model.fit(X, REAL, epochs=1, sample_weight=weight, validation_data=(X, REAL, weight))
        model.evaluate(X, REAL, weight)
        model.value_and_gradient(X, REAL, weight, theta=theta)
        model.backward(X, REAL, weight)
        model.check_gradient(X, REAL, weight)
        model.forward(X)
        model.predict(X)[...] = 7
        model.parameters = theta
        model.fit(X, REAL, epochs=1)
    finally:
        for a in given:
            a.flags.writeable = True
    for a, b in zip(given, before, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_examples_of_weight_zero_are_as_if_they_were_not_there(dtype: str) -> None:
    weight = np.tile([1.0, 0.0], 10)
    some, all_ = (Model((4, 6, 3), hidden="tanh", dtype=dtype) for _ in range(2))
    some.fit(X[::2], REAL[::2], epochs=2, batch_size=1, shuffle=False, optimizer=SGD(0.1))
    history = all_.fit(X, REAL, epochs=2, batch_size=1, shuffle=False, optimizer=SGD(0.1), sample_weight=weight)
    assert np.isfinite(history.cost).all()
    np.testing.assert_allclose(all_.parameters, some.parameters, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_examples_of_weight_zero_may_even_cost_infinitely_much(dtype: str) -> None:
    weights = [np.eye(3), np.eye(3)]  # relu outputs with a 0, of which cross-entropy wants the logarithm
    model = model_with("relu", (3, 3, 3), loss="cross_entropy", bias=False, dtype=dtype, initial=weights)
    rows = np.array([[0.5, 0.25, 0.25], [1, 0, 0]])
    y, weight = [0, 1], [1, 0]
    assert model.evaluate(rows, y)["cost"] == np.inf
    assert model.evaluate(rows, y, weight)["cost"] == pytest.approx(np.log(2))
    cost, gradient = model.value_and_gradient(rows, y, weight)
    assert cost == pytest.approx(np.log(2))
    np.testing.assert_array_equal(gradient, model.value_and_gradient(rows[:1], y[:1])[1])


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e37])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_the_ratios_of_weights_matter_to_a_mean(dtype: str, scale: float) -> None:
    model = Model((4, 6, 3), hidden="tanh", dtype=dtype)
    weight = np.random.default_rng(4).random(20)
    cost, gradient = model.value_and_gradient(X, REAL, weight)
    same_cost, same_gradient = model.value_and_gradient(X, REAL, weight * scale)
    assert same_cost == pytest.approx(cost, rel=1e-5)
    np.testing.assert_allclose(same_gradient, gradient, rtol=1e-4, atol=1e-6)


# Training that diverges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_diverging_training_stops_and_leaves_finite_parameters(momentum: float, dtype: str, n_threads: int) -> None:
    model = Model((4, 6, 3), dtype=dtype)
    optimizer = SGD(1e6, momentum=momentum)
    with pytest.raises(FloatingPointError) as caught:
        model.fit(X, REAL, epochs=1000, batch_size=8, optimizer=optimizer, n_threads=n_threads)
    message = str(caught.value)
    assert re.search(r"epoch \d+", message), message
    assert re.search(r"step \d+", message), message
    assert re.search(r"learning[ _]rate.*(1000000|1e\+?06)", message), message
    assert re.search(r"cost|gradient|parameters", message), message
    assert np.isfinite(model.parameters).all()
    model.parameters = Model((4, 6, 3), dtype=dtype).parameters
    history = model.fit(X, REAL, epochs=5, optimizer=Adam())
    assert np.isfinite(history.cost).all()
    assert np.isfinite(model.parameters).all()


def test_the_place_where_it_diverged_is_named() -> None:
    """One example of 4 has inputs that overflow in the first product: the third step of the first epoch."""
    model = Model((4, 3), dtype="float32", initial=np.full(15, 2.0))
    hostile = np.ones((4, 4), "float32")
    hostile[2] = 3e38
    with pytest.raises(FloatingPointError) as caught:
        model.fit(hostile, np.zeros((4, 3)), epochs=5, batch_size=1, shuffle=False, optimizer=SGD(0.001))
    epoch, step = (int(re.search(rf"{word} (\d+)", str(caught.value))[1]) for word in ("epoch", "step"))  # type: ignore[index]
    assert (epoch, step) in {(1, 3), (0, 2)}, str(caught.value)
    only_two = Model((4, 3), dtype="float32", initial=np.full(15, 2.0))
    only_two.fit(hostile[:2], np.zeros((2, 3)), epochs=1, batch_size=1, shuffle=False, optimizer=SGD(0.001))
    assert model.parameters.tobytes() == only_two.parameters.tobytes()


@pytest.mark.parametrize("batch_size", [5, 20])
@pytest.mark.parametrize("optimizer", [SGD(1e38), SGD(1e38, momentum=0.9, nesterov=True), Adam(3e38)])
def test_no_last_step_leaves_parameters_that_are_not_finite(optimizer: Any, batch_size: int) -> None:
    """The cost of the only step is finite; its update overflows, and no further cost would tell."""
    model = regressor()
    with pytest.raises(FloatingPointError):
        model.fit(X, 1000 * REAL, epochs=1, batch_size=batch_size, optimizer=optimizer)
    assert np.isfinite(model.parameters).all()


def test_infinite_validation_cost_never_spoils_the_parameters() -> None:
    model = regressor()
    far = np.full((20, 3), 3e38, "float32")
    try:
        model.fit(X, REAL, epochs=2, validation_data=(X, far))
    except FloatingPointError as error:
        assert "validation" in str(error)  # noqa: PT017
    assert np.isfinite(model.parameters).all()
