"""The command line as a user runs it, and the README's lines."""

import fcntl
import gzip
import importlib.util
import io
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import Activation, Loss, cli
from fastbp.data import load_digits

README = Path(__file__).parents[1] / "README.md"
ENV = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}  # the same fastbp in other processes


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """run("train", …) -> what the command printed; it has to succeed."""

    def run(*arguments):
        code = cli.main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def refused(capsys):
    """refused("train", …) -> the one line on stderr of a command that exits with 2."""

    def refused(*arguments):
        assert cli.main(list(map(str, arguments))) == 2
        err = capsys.readouterr().err
        assert err.startswith("fastbp: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err

    return refused


def save_table(name, task="classification", n=120, targets=1):
    """A table that a small network learns: two inputs, which quadrant (0 to 3) or a smooth function."""
    X = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    y = (X[:, 0] > 0) + 2 * (X[:, 1] > 0) if task == "classification" else np.sin(2 * X[:, 0]) + X[:, 1]
    if name.endswith(".csv"):
        np.savetxt(name, np.column_stack([X, y]), delimiter=",", header="x0,x1,y", comments="")
    else:
        np.savez(name, X=X, y=np.column_stack([y] * targets) if targets > 1 else y)
    return X, y


QUICK = ("--quiet", "--epochs", 100, "--hidden", "16", "--learning-rate", 0.01)

# ------------------------------------------------------------------------------------------------ digits


def test_digits_ten_seeds(run):
    """The gate: over ten seeds the median accuracy is at least 97 %, and training takes under two seconds."""
    run("train", "digits", "--quiet", "--epochs", 1)  # compiles
    accuracies, seconds = [], []
    for seed in range(10):
        out = run("train", "digits", "--quiet", "--seed", seed)
        accuracies.append(float(re.search(r"accuracy ([\d.]+) %", out)[1]))
        seconds.append(float(re.search(r"epochs in ([\d.]+) s", out)[1]))
    print("digits: accuracies", accuracies, "seconds", seconds)
    assert np.median(accuracies) >= 97
    assert np.median(seconds) < 2


def test_digits_report_model_and_plot(run, capsys):
    code = cli.main(["train", "digits", "--epochs", "3", "--output", "model", "--plot", "curve.png"])
    out, err = capsys.readouterr()
    assert code == 0
    assert "1,438 rows, 359 held out, 64 inputs, 10 classes" in out
    assert re.search(r"network   64-[\d-]+-10, [\d,]+ parameters", out)
    assert "3 epochs in" in out
    assert re.search(r"held out  cost [\d.]+, accuracy [\d.]+ %", out)
    assert "3/3" in err  # the progress bar
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")
    model = fastbp.Model.load("model")
    predicted = np.array(run("predict", "model", "digits").split(), int)
    X, y = load_digits()
    assert np.array_equal(predicted, np.argmax(model.predict(X / 16), axis=1))
    assert np.mean(predicted == y) > 0.8


def test_the_same_seed_gives_the_same_model(run):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("train", "digits", "--quiet", "--epochs", 1, "--seed", seed, "--output", name)
    a, b, c = (fastbp.Model.load(name).parameters for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


# ------------------------------------------------------------------------------------------------ tables


def test_classification(run):
    name = "data.npz"
    X, y = save_table(name)
    out = run("train", name, *QUICK, "--output", "model")
    assert "96 rows, 24 held out, 2 inputs, 4 classes" in out
    assert float(re.search(r"accuracy ([\d.]+) %", out)[1]) > 80
    assert fastbp.Model.load("model").network.sizes == (2, 16, 4)
    predicted = np.array(run("predict", "model", name).split(), int)
    assert np.mean(predicted == y) > 0.85
    lines = run("predict", "model", name, "--raw").splitlines()
    raw = np.array([line.split(",") for line in lines], np.float32)
    assert np.array_equal(raw, fastbp.Model.load("model").predict(X))  # every digit that the number has
    run("predict", "model", name, "--output", "classes.npy")
    assert np.array_equal(np.load("classes.npy"), predicted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_regression(run, dtype):
    X, y = save_table("data.npz", "regression")
    out = run("train", "data.npz", *QUICK, "--dtype", dtype, "--output", "model")
    assert "2 inputs, 1 target (regression)" in out
    assert float(re.search(r"held out  cost ([\d.e-]+)\n", out)[1]) < 0.1
    model = fastbp.Model.load("model")
    assert model.dtype == dtype
    assert run("predict", "model", "data.npz", "--output", "predicted.csv") == ""
    predicted = np.loadtxt("predicted.csv", dtype=dtype)
    assert np.array_equal(predicted, model.predict(X)[:, 0])
    assert np.mean((predicted - y) ** 2) < 0.1


def test_a_table_with_text_and_missing_cells(run, capsys):
    out = run(
        *("train", "penguins", "--quiet", "--importance", "--class-weight", "balanced", "--optimizer", "adamw"),
        *("--report", "report.html", "--output", "model", "--plot", "curve.svg"),
    )
    for line in ("file      the first line holds names", "island             text    0", "3 classes", "Chinstrap  14"):
        assert line in out
    assert float(re.search(r"accuracy  ([\d.]+) %", out)[1]) > 95
    assert "<svg" in Path("report.html").read_text()
    assert Path("curve.svg").exists()
    lines = run("predict", "model", "penguins", "--probabilities").splitlines()
    assert lines[0] == "species," + ",".join(f"probability of {name}" for name in ("Adelie", "Chinstrap", "Gentoo"))
    assert len(lines) == 345
    assert lines[1].startswith("Adelie,0.9")
    run("predict", "model", "penguins", "--output", "out.csv.gz")
    assert gzip.decompress(Path("out.csv.gz").read_bytes()).decode().splitlines()[:2] == ["species", "Adelie"]


def test_columns_of_a_table_are_chosen_by_name(run, refused, capsys):
    rows = "".join(f"{i + 1};{i / 10};{'ab'[i % 2]};{i % 7}\n".replace(".", ",") for i in range(60))
    Path("data.csv").write_text("n;x;c;z\n" + rows)
    arguments = ("train", "data.csv", "--quiet", "--epochs", 2, "--decimal", ",", "--target", "x")
    out = run(*arguments, "--ignore", "z", "--output", "model")
    assert "left out: the row number" in out
    assert "left out: --ignore" in out
    assert "warning" in out
    assert "left out: the row number" not in run(*arguments, "--keep-index")
    assert run("predict", "model", "data.csv").splitlines()[1].startswith("1,")
    Path("other.csv").write_text("c;more\nq;1\na;2\n")
    assert cli.main(["predict", "model", "other.csv"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("x\n")
    assert err == "fastbp: 1 cells of 'c' have values that training did not have\n"
    Path("other.csv").write_text("d,more\na,1\nb,2\n")
    assert "must have the columns 'c'" in refused("predict", "model", "other.csv")
    assert "has no column 'y'" in refused("train", "data.csv", "--target", "y")
    assert "is for classes" in refused("predict", "model", "data.csv", "--probabilities")


def test_a_table_without_named_columns_for_a_network_is_counted(run, refused):
    X, _ = save_table("data.csv")
    model = fastbp.Model((2, 3, 4), output="softmax")
    model.save("model")
    expected = [str(c) for c in model.predict(X).argmax(axis=1)]
    assert run("predict", "model", "data.csv").split() == expected
    Path("narrow.csv").write_text("1\n2\n")
    assert "narrow.csv must have 2 columns" in refused("predict", "model", "narrow.csv")


def test_options_of_tables_are_for_tables(refused):
    assert "--target is for tables" in refused("train", "digits", "--target", "y")
    assert "--separator must be one character" in refused("train", "penguins", "--separator", "ab")
    assert "--test-size above 0" in refused("train", "penguins", "--test-size", 0, "--importance")


def test_a_missing_polars(refused, monkeypatch):
    save_table("data.csv")
    monkeypatch.setitem(sys.modules, "polars", None)
    assert 'reading data.csv needs polars: pip install "fastbp[table]"' in refused("train", "data.csv")


def test_regression_with_several_targets(run):
    save_table("data.npz", "regression", targets=3)
    assert "3 targets (regression)" in run("train", "data.npz", *QUICK, "--output", "model")
    assert all(line.count(",") == 2 for line in run("predict", "model", "data.npz").splitlines())


def test_the_task_follows_the_targets_or_the_option(run):
    def train(y, *task):
        np.savez("data.npz", X=np.eye(6), y=y)
        return run("train", "data.npz", "--quiet", "--epochs", 1, "--test-size", 0, *task)

    assert "3 classes" in train([0, 1, 2, 0, 1, 2])
    assert "2 classes" in train([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    for other in (100, -1, 0.5):
        assert "regression" in train([0, 1, 2, 0, 1, other])
    assert "101 classes" in train([0, 1, 2, 0, 1, 100], "--task", "classification")
    assert "regression" in train([0, 1, 2, 0, 1, 2], "--task", "regression")


def test_the_loss_sets_the_output_and_the_task(run):
    X = np.random.default_rng(0).uniform(-1, 1, (120, 2))
    targets = {
        "huber": X[:, 0],
        "gaussian_nll": X[:, :1],
        "binary_cross_entropy": (X > 0).astype(int),
        "poisson": np.round(4 + 4 * X[:, 0]),
        "hinge": np.where(X > 0, 1, -1),
        "cross_entropy": (X[:, 0] > 0).astype(int),
    }
    for loss, y in targets.items():
        np.savez("table.npz", X=X, y=y)
        out = run("train", "table.npz", *QUICK[:2], 40, *QUICK[3:], "--loss", loss, "--output", "model")
        model = fastbp.Model.load("model")
        outputs, output = {
            "huber": (1, "identity"),
            "poisson": (1, "exponential"),
            "gaussian_nll": (2, "identity"),
            "binary_cross_entropy": (2, "sigmoid"),
            "hinge": (2, "identity"),
            "cross_entropy": (2, "softmax"),
        }[loss]
        assert (model.network.n_outputs, model.network.output) == (outputs, output)
        assert getattr(model.loss, "name", model.loss) == loss
        assert ("accuracy" in out) == (loss in ("binary_cross_entropy", "hinge", "cross_entropy"))
        assert ("regression" in out) == (loss != "cross_entropy")


def test_options_reach_the_model(run):
    save_table("data.npz")
    run(
        *("train", "data.npz", "--quiet", "--epochs", 2, "--hidden", "5,3", "--activation", "tanh"),
        *("--optimizer", "sgd", "--learning-rate", 0.05, "--momentum", 0.5),
        *("--batch-size", 7, "--threads", 2, "--test-size", 0, "--output", "model"),
    )
    model = fastbp.Model.load("model")
    assert model.network.sizes == (2, 5, 3, 4)
    assert model.network.hidden == ("tanh", "tanh")
    assert model.optimizer == fastbp.SGD(learning_rate=0.05, momentum=0.5)
    run("train", "data.npz", "--quiet", "--epochs", 1, "--hidden", "none", "--output", "model")
    assert fastbp.Model.load("model").network.sizes == (2, 4)


def test_every_schedule_by_name(run, refused):
    save_table("data.npz")
    arguments = ("train", "data.npz", "--quiet", "--epochs", 2, "--learning-rate", 0.05, "--output", "model")
    run(*arguments, "--optimizer", "nadam", "--schedule", "cosine", "--schedule-steps", 50)
    assert fastbp.Model.load("model").optimizer == fastbp.NAdam(fastbp.schedules.Cosine(0.05, steps=50))
    run(*arguments, "--schedule", "on_plateau")
    assert fastbp.Model.load("model").optimizer == fastbp.Adam(fastbp.schedules.OnPlateau(0.05))
    assert "takes no --schedule-steps" in refused(*arguments, "--schedule", "constant", "--schedule-steps", 5)
    assert "is for --schedule" in refused(*arguments, "--schedule-steps", 5)


def test_patience_ends_the_training_early(run, refused):
    save_table("data.npz")
    arguments = ("train", "data.npz", "--quiet", "--epochs", 2000, "--learning-rate", 0.1, "--patience", 3)
    assert int(re.search(r"(\d+) epochs in", run(*arguments))[1]) < 1000
    assert "no validation data" in refused(*arguments, "--test-size", 0)
    assert "patience" in refused(*arguments[:-1], 0)


def test_nothing_held_out(run):
    save_table("data.npz")
    out = run("train", "data.npz", *QUICK, "--test-size", 0, "--plot", "curve.svg")
    assert "120 rows, 0 held out" in out
    assert "accuracy" not in out
    assert Path("curve.svg").exists()


# -------------------------------------------------------------------------------------------------- info


def test_info_names_versions_and_cpu(run):
    out = run("info")
    assert fastbp.__version__ in out
    for word in ("python", "numpy", "numba", "cpu", "cache"):
        assert word in out


def test_info_on_a_model(run):
    fastbp.Model((2, 3, 1)).save("model")
    out = run("info", "model")
    assert "Model" in out
    assert "13 parameters" in out


def test_help_and_version(capsys):
    for arguments, word in (("--help", "train"), ("train --help", "--hidden"), ("--version", "fastbp ")):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments.split())
        assert caught.value.code == 0
        assert word in capsys.readouterr().out


# --------------------------------------------------------------------------------------------- bad usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "train | predict | bench | info"),
        ("fly", "invalid choice: 'fly'"),
        ("train", "DATA"),
        ("train digits more", "more"),
        ("train nothing.csv", "nothing.csv: No such file"),
        ("train nothing.npz", "nothing.npz: No such file"),
        ("train digits.txt", "digits.txt: No such file"),
        ("train digits --epochs", "--epochs"),
        ("train digits --epochs many", "'many'"),
        ("train digits --epochs 0", "epochs"),
        ("train digits --batch-size -1", "batch_size"),
        ("train digits --threads 0", "n_threads"),
        ("train digits --hidden 0", "sizes"),
        ("train digits --hidden 64;64", "64;64"),
        ("train digits --hidden", "--hidden"),
        ("train digits --activation rleu", "relu"),
        ("train digits --optimizer adamm", "adamm"),
        ("train digits --learning-rate -1", "learning_rate"),
        ("train digits --learning-rate nan", "learning_rate"),
        ("train digits --momentum 0.9", "--momentum"),
        ("train digits --optimizer sgd --momentum -1", "momentum"),
        ("train digits --dtype float16", "float16"),
        ("train digits --loss mse", "--loss must be one of"),
        ("train digits --loss huber --task classification", "--loss huber is for --task regression"),
        ("train digits --test-size 1", "--test-size"),
        ("train digits --test-size nan", "--test-size"),
        ("train digits --test-size 0.0001", "leaves no row"),
        ("train digits --seed -1", "seed"),
        ("train digits --output none/model", "there is no folder none"),
        ("train digits --plot none/curve.png", "there is no folder none"),
        ("train digits --plot curve.bmpp", "must end in"),
        ("predict", "MODEL"),
        ("predict model digits", "model: No such file"),
        ("info model", "model: No such file"),
        ("info . .", "."),
    ],
)
def test_bad_usage(refused, arguments, words):
    assert words in refused(*arguments.split(), *(["--quiet"] if "train digits" in arguments else []))
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        ([[1.0, 2], [3, np.nan]], [0, 1], "X must be finite, got nan in row 1, column 1"),
        ([[1.0, 2], [-np.inf, 0]], [0, 1], "X must be finite, got -inf in row 1, column 0"),
        ([[1.0, 1e300], [0, 0]], [0, 1], "float32"),
        ([[1.0, 2], [0, 0]], [0.5, np.nan], "y must be finite, got nan"),
        (np.zeros((0, 2)), np.zeros(0), "at least 1 row"),
        (np.zeros((4, 0)), np.zeros(4), ""),
        (np.zeros((4, 2)), np.zeros(4), "two classes"),
        (np.zeros((1, 2)), np.ones(1), "leaves no row"),
        (np.zeros((2, 2)), np.zeros(3), "one row per row"),
    ],
)
def test_bad_tables(refused, X, y, words):
    np.savez("data.npz", X=X, y=y)
    assert words in refused("train", "data.npz", "--quiet", "--epochs", 1)


@pytest.mark.parametrize("y", [[0, 1, -1, 2], [0, 1, 0.5, 2], [0, 1, np.inf, 2], [[0, 1]] * 4])
def test_targets_that_are_no_classes(refused, y):
    np.savez("data.npz", X=np.zeros((4, 2)), y=y)
    assert "integer from 0 up" in refused("train", "data.npz", "--task", "classification")


def test_a_cost_that_explodes(refused):
    save_table("data.npz", "regression")
    error = refused("train", "data.npz", "--quiet", "--optimizer", "sgd", "--learning-rate", 1e30)
    assert "learning rate" in error.replace("_", " ")


def test_bad_models_and_inputs(refused, run):
    save_table("data.csv")
    run("train", "data.csv", "--quiet", "--epochs", 1, "--output", "model")
    assert "needs a table with the columns x0, x1" in refused("predict", "model", "digits")
    assert "data.csv is not a fastbp model" in refused("predict", "data.csv", "data.csv")
    assert "data.csv is not a fastbp model" in refused("info", "data.csv")
    Path("model").write_bytes(Path("model").read_bytes()[:-1])
    assert "model is not a fastbp model" in refused("predict", "model", "data.csv")


# ------------------------------------------------------------------------------------- whatever a file can hold


def test_models_with_functions_of_the_user_are_refused_with_the_way_out(refused):
    square = Activation(lambda z: z * z, lambda z: 2 * z, name="square\n\x1b[31m")
    quartic = Loss(lambda a, y: (a - y) ** 4, lambda a, y: 4 * (a - y) ** 3, name="quartic" * 1000)
    fastbp.Model((64, 4, 10), hidden=square, output="softmax").save("activation")
    fastbp.Model((64, 10), loss=quartic).save("loss")
    for name, words in (("activation", "the custom activation 'square"), ("loss", "the custom loss 'quartic")):
        for arguments in (("info", name), ("predict", name, "digits")):
            error = refused(*arguments)
            assert error.startswith(f"fastbp: {name} can be loaded in Python only: the model has {words}")
            assert error[:-1].isprintable()
            assert len(error) < 1100


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(method=zipfile.ZIP_STORED, X=None):
    """The bytes of a .npz file whose X is these bytes, or ten rows of four numbers."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        file.writestr("X.npy", npy(np.linspace(0, 1, 40).reshape(10, 4)) if X is None else X)
        file.writestr("y.npy", npy(np.arange(10) % 3))
    return stream.getvalue()


def at_both_headers(whole, local, central, value):
    """The file with another byte in the first member's local and central header."""
    result = bytearray(whole)
    result[local] = result[whole.index(b"PK\1\2") + central] = value
    return bytes(result)


def head(shape, descr="'<f8'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + bytes(320)


DAMAGED = {
    "a member that is no array": npz(X=b"not an array"),
    "an empty member": npz(X=b""),
    "a pickle": npz(X=b"\x80\x04K\x01."),
    "an encrypted member": at_both_headers(npz(), 6, 8, 1),
    "an unknown method": at_both_headers(npz(), 8, 10, 99),
    "broken deflate": npz(zipfile.ZIP_DEFLATED)[:45] + b"\xff" * 9 + npz(zipfile.ZIP_DEFLATED)[54:],
    "broken bzip2": npz(zipfile.ZIP_BZIP2)[:45] + b"\xff" * 9 + npz(zipfile.ZIP_BZIP2)[54:],
    "broken LZMA": npz(zipfile.ZIP_LZMA)[:45] + b"\xff" * 9 + npz(zipfile.ZIP_LZMA)[54:],
    "an open bracket": npz(X=head("(10, 4")),
    "nested brackets": npz(X=head("(" * 40)),
    "more than the memory": npz(X=head("(1152921504606846, 4)")),
    "more than there is": npz(X=head("(100000, 4)")),
    "no int64": npz(X=head(f"({10**30}, 4)")),
    "a negative size": npz(X=head("(-10, 4)")),
    "too many axes": npz(X=head("(10, 4" + ", 1" * 70 + ")")),
    "text": npz(X=head("(10, 4)", "'<U2'")),
    "a record": npz(X=head("(10, 4)", "[('a', '<f8')]")),
    "an escape sequence": npz(X=head("(10, 4)", "'\x1b[31m'")),
    "an array and no archive": npy(np.zeros((10, 4))),
    "another archive": b"\x1f\x8b\x08" + bytes(100),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_npz_files_are_refused_in_one_line(refused, name):
    Path("data.npz").write_bytes(DAMAGED[name])
    fastbp.Model((4, 3)).save("model")
    for arguments in (("train",), ("predict", "model")):
        error = refused(*arguments, "data.npz")
        assert error.startswith("fastbp: data.npz")
        assert error[:-1].isprintable()


def damaged(rng, whole):
    """Some bytes changed, the end cut off, or a part exchanged."""
    result, places = bytearray(whole), rng.integers(len(whole), size=rng.integers(1, 5))
    begin, end = sorted(rng.integers(len(whole), size=2))
    kind = rng.integers(4)
    if kind == 0:
        for at in places:
            result[at] ^= 1 << rng.integers(8)
    elif kind == 1:
        for at in places:
            result[at] = rng.integers(256)
    elif kind == 2:
        del result[begin:]
    else:
        result[begin:end] = rng.bytes(rng.integers(20))
    return bytes(result)


def test_files_damaged_at_random_are_read_or_refused_in_one_line(capsys):
    """Also under another suffix than theirs, and arrays' headers in archives that are whole."""
    fastbp.Model((4, 3), output="softmax").save("model")
    text = io.StringIO()
    np.savetxt(text, np.linspace(0, 1, 40).reshape(10, 4), "%g", ",", header="a,b,c,d", comments="")
    wholes = {
        **{f"{method}.npz": npz(method) for method in (0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)},
        "array.npz": npy(np.zeros((10, 4))),
        "table.csv": text.getvalue().encode(),
        "model.safetensors": Path("model").read_bytes(),
    }
    member = npy(np.linspace(0, 1, 40).reshape(10, 4))
    rng, codes = np.random.default_rng(0), {0: 0, 2: 0}
    for i in range(700):
        name = list(wholes)[i % len(wholes)]
        content = npz(X=damaged(rng, member[:150]) + member[150:]) if i % 3 == 0 else damaged(rng, wholes[name])
        if i % 10 == 0:
            name = list(wholes)[rng.integers(len(wholes))]
        Path(name).write_bytes(content)
        code = cli.main(["info", name] if name.endswith(".safetensors") else ["predict", "model", name])
        err = capsys.readouterr().err
        assert code in codes, name
        codes[code] += 1
        assert err.count("\n") == (code == 2), err
        assert err == "" or (err.startswith("fastbp: ") and err[:-1].isprintable()), err
    assert min(codes.values()) > 10


def test_folders_pipes_and_devices_are_no_data_and_no_models(refused):
    """A pipe would be waited for, /dev/zero has no end."""
    fastbp.Model((4, 3)).save("model")
    for name in ("pipe", "pipe.npz", "pipe.csv"):
        os.mkfifo(name)
        assert refused("info", name) == f"fastbp: {name}: not a regular file\n"
        assert refused("predict", name, "digits") == f"fastbp: {name}: not a regular file\n"
    for name in ("folder.npz", "folder.csv"):
        os.mkdir(name)
        for arguments in (("info",), ("train",), ("predict", "model")):
            assert refused(*arguments, name) == f"fastbp: {name}: Is a directory\n"
    for name in ("pipe.npz", "pipe.csv"):
        for arguments in (("train",), ("predict", "model")):
            assert refused(*arguments, name) == f"fastbp: {name}: not a regular file\n"
    assert refused("info", "/dev/zero") == "fastbp: /dev/zero: not a regular file\n"


def test_a_name_with_a_new_line_is_one_line(refused):
    for name in ("da\nta.csv", "da\nta.npz"):
        assert refused("train", name) == f"fastbp: {name.replace(chr(10), ' ')}: No such file or directory\n"
        Path(name).write_bytes(b"no\x1bsense")
        assert refused("train", name)[:-1].isprintable()


# ------------------------------------------------------------------------------------------- what is written

WRITTEN = {
    "model": ("train", "digits", "--quiet", "--epochs", "1", "--output"),
    "plot": ("train", "digits", "--quiet", "--epochs", "1", "--plot"),
    "text": ("predict", "model", "digits", "--output"),
    "array": ("predict", "model", "digits", "--output"),
}
SUFFIX = {"plot": ".png", "array": ".npy"}


@pytest.mark.parametrize("what", WRITTEN)
def test_what_is_written_keeps_the_mode_of_the_older_file(run, what):
    fastbp.Model((64, 10), output="softmax").save("model")
    path = Path(f"file{SUFFIX.get(what, '')}")
    run(*WRITTEN[what], path)
    expected = path.read_bytes()
    path.write_bytes(b"older")
    path.chmod(0o600)
    run(*WRITTEN[what], path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == len(expected) > 1000
    assert {*os.listdir()} == {"model", path.name}


@pytest.mark.parametrize("what", WRITTEN)
def test_what_is_written_to_a_pipe_or_a_device_goes_through(run, refused, what):
    fastbp.Model((64, 10), output="softmax").save("model")
    plain, pipe = Path(f"file{SUFFIX.get(what, '')}"), Path(f"pipe{SUFFIX.get(what, '')}")
    run(*WRITTEN[what], plain)
    os.mkfifo(pipe)
    assert refused(*WRITTEN[what], pipe) == f"fastbp: {pipe}: a pipe without a reader\n"
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)  # room for all that is written before anyone reads
        run(*WRITTEN[what], pipe)
        got = reader.read()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert len(got) == len(plain.read_bytes())


@pytest.mark.parametrize("what", WRITTEN)
def test_a_folder_as_target_is_refused_before_anything_is_done(refused, monkeypatch, what):
    fastbp.Model((64, 10), output="softmax").save("model")
    path = Path(f"folder{SUFFIX.get(what, '')}")
    path.mkdir()
    for method in ("fit", "predict"):
        monkeypatch.setattr(fastbp.Model, method, lambda *_, **__: pytest.fail("too late"))
    assert refused(*WRITTEN[what], path) == f"fastbp: {path}: Is a directory\n"
    assert "there is no folder none" in refused(*WRITTEN[what], Path("none") / path)


def test_text_is_compressed_where_the_name_says_so(run):
    fastbp.Model((64, 10), output="softmax").save("model")
    expected = run("predict", "model", "digits")
    run("predict", "model", "digits", "--output", "classes.csv.gz")
    assert gzip.decompress(Path("classes.csv.gz").read_bytes()).decode() == expected


def test_a_missing_matplotlib(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert 'pip install "fastbp[plot]"' in refused("train", "digits", "--plot", "curve.png")


def test_matplotlib_is_imported_for_a_plot_only():
    program = "import sys, fastbp.cli; fastbp.cli.main(['info']); sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], env=ENV, stdout=subprocess.DEVNULL, check=True)


# ---------------------------------------------------------------------------------------- ends of all kinds


def test_control_c(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fastbp.Model, "fit", interrupted)
    assert cli.main(["train", "digits"]) == 130
    assert capsys.readouterr().err == "fastbp: interrupted\n"


@pytest.fixture
def shell():
    """Runs a shell's line where `fastbp` is this one."""

    def shell(line):
        command = f'fastbp() {{ "{sys.executable}" -W error -m fastbp.cli "$@"; }}; {line}'
        return subprocess.run(["bash", "-c", command], env=ENV, capture_output=True, text=True, check=False)

    return shell


def test_train_and_predict_as_shell_commands(shell):
    done = shell("fastbp train digits --epochs 1 --output model && fastbp predict model digits > out")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert len(Path("out").read_text().split()) == 1797
    done = shell("fastbp train nothing.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fastbp: nothing.csv: No such file or directory\n"


def test_a_reader_that_goes_away(shell):
    fastbp.Model((64, 10), output="softmax").save("model")
    done = shell("fastbp predict model digits --raw | head -n 1; echo ${PIPESTATUS[0]}")
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "1")


# ------------------------------------------------------------------------------------------------ README


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)


def run_as_module(text, path):
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_first_example(tmp_path, capsys):
    example = run_as_module(blocks("python")[0], tmp_path / "readme_scores.py")
    assert example.dW1.shape == (3, 2)
    assert example.dW2.shape == (1, 3)
    assert np.allclose(100 * example.model.predict(example.X)[:, 0], [75, 82, 93], atol=0.5)
    assert example.history.cost[-1] < 0.01 * example.history.cost[0]
    assert "->" in capsys.readouterr().out


def test_readme_compiled_example(tmp_path):
    example = run_as_module(blocks("python")[1], tmp_path / "readme_compiled.py")
    x = np.array([1.0, 0.0])
    for _ in range(100):
        x += 0.01 * example.model.predict(x[None])[0]
    assert np.allclose(example.x, x, rtol=1e-12)


def test_readme_command_lines_parse():
    """Every line that begins with `fastbp` is one that the parser takes."""
    lines = [line.split("#")[0].split() for block in blocks("sh") for line in block.splitlines()]
    commands = [line[1:] for line in lines if line[:1] == ["fastbp"]]
    assert len(commands) >= 4
    for arguments in commands:
        cli._parser().parse_args(arguments)
