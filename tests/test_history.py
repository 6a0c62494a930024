"""What fit shows: its history as arrays, frame and drawing, the model's drawing and summary, the progress."""

import re
import sys
import threading

import matplotlib
import numpy as np
import pandas
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from fastbp import SGD, History, Model
from fastbp.summary import memory
from fastbp.training import progress_bar

RNG = np.random.default_rng(0)
X = RNG.normal(size=(21, 5)).astype(np.float32)
Y = RNG.normal(size=(21, 2)).astype(np.float32)
CLASSES = np.arange(21) % 2

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _no_figure_is_left():
    yield
    pyplot.close("all")


def fitted(epochs=3, **options):
    model = Model((5, 7, 2), "tanh")
    return model, model.fit(X, Y, epochs=epochs, **options)


# The history.


def test_all_columns_are_arrays_with_one_element_per_epoch():
    model, history = fitted(validation_data=(X, Y), metrics=["r2"], optimizer=SGD(0.5))
    assert len(history) == 3
    columns = [history.cost, history.validation_cost, history.metrics["r2"], history.learning_rate, history.seconds]
    for column in [*columns, history.examples_per_second]:
        assert column.shape == (3,)
        assert column.dtype == np.float64
    np.testing.assert_array_equal(history.epoch, [1, 2, 3])
    np.testing.assert_array_equal(history.learning_rate, 0.5)
    np.testing.assert_allclose(history.examples_per_second * history.seconds, 21)
    again = model.fit(X, Y, epochs=2)
    np.testing.assert_array_equal(again.epoch, [4, 5])
    assert again.validation_cost.size == 0
    assert again.metrics == {}
    assert len(History()) == 0


def test_the_frame_has_a_row_for_each_epoch_and_a_column_for_each_array():
    frame = fitted(validation_data=(X, Y), metrics=["r2"])[1].frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.name == "epoch"
    assert list(frame.index) == [1, 2, 3]
    assert list(frame) == ["cost", "validation_cost", "r2", "learning_rate", "seconds", "examples_per_second"]
    history = fitted()[1]
    np.testing.assert_array_equal(history.frame()["cost"], history.cost)
    assert "validation_cost" not in history.frame()


def test_what_is_missing_is_named_with_the_way_out(monkeypatch):
    model, history = fitted()
    for name, call, extra in [
        ("pandas", history.frame, "frame"),
        ("matplotlib.pyplot", history.plot, "plot"),
        ("matplotlib.pyplot", lambda: model.plot(X, Y), "plot"),
    ]:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            patch.delattr(matplotlib, "pyplot", raising=False)
            with pytest.raises(ImportError, match=rf'pip install "fastbp\[{extra}\]"'):
                call()


# Drawings.


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_the_plot_of_a_history_shows_both_costs():
    history = fitted(validation_data=(X, Y))[1]
    axes = Figure().add_subplot()
    assert history.plot(axes) is axes
    assert axes.get_yscale() == "log"
    for label, cost in (("training", history.cost), ("held out", history.validation_cost)):
        np.testing.assert_array_equal(lines(axes)[label], np.column_stack([[1, 2, 3], cost]))
    axes.figure.canvas.draw()
    assert list(lines(fitted()[1].plot())) == ["training"], "axes of pyplot's, with one curve"
    assert History(np.array([1.0, -1.0]), epoch=np.arange(2)).plot().get_yscale() == "linear"


def test_the_plot_of_a_regression_shows_predictions_over_truth():
    model = fitted()[0]
    axes = model.plot(X, Y)
    for j, points in enumerate(axes.collections):
        np.testing.assert_allclose(points.get_offsets(), np.column_stack([Y[:, j], model.predict(X)[:, j]]))
    assert len(axes.collections) == 2
    axes.figure.canvas.draw()


@pytest.mark.parametrize("y", [CLASSES, np.eye(2)[CLASSES], CLASSES[:, None]])
def test_the_plot_of_a_classifier_counts_each_pair_of_classes(y):
    single = y.ndim == 2 and y.shape[1] == 1
    model = Model((5, 7, 1 if single else 2), "tanh", "sigmoid" if single else "softmax")
    model.fit(X, y, epochs=2)
    outputs = model.predict(X)
    predicted = outputs[:, 0] >= 0.5 if single else outputs[:, 1] > outputs[:, 0]
    axes = model.plot(X, y)
    counts = {tuple(map(round, text.get_position())): int(text.get_text()) for text in axes.texts}
    expected = {(p, t): np.sum((predicted == p) & (t == CLASSES)) for p in (0, 1) for t in (0, 1)}
    assert counts == expected
    axes.figure.canvas.draw()


# The summary.


def test_the_summary_tells_layers_parameters_and_memory():
    model = Model((64, 1000, 10), "relu", "softmax")
    rows = [line.split() for line in model.summary().splitlines()]
    assert rows[0] == ["layer", "inputs", "outputs", "activation", "parameters"]
    assert rows[2] == ["1", "64", "1,000", "relu", "65,000"]
    assert rows[3] == ["2", "1,000", "10", "softmax", "10,010"]
    text = model.summary()
    assert "75,010 of float32: 300 kB" in text
    assert "1.2 MB: parameters, gradient, 2 moments of Adam" in text
    assert "cross_entropy, mean over the examples" in text
    assert len({len(line) for line in text.splitlines()[1:4]}) == 1, "columns are aligned"
    assert [memory(size) for size in (52, 1300, 2.5e6, 7e12)] == ["52 bytes", "1.3 kB", "2.5 MB", "7,000 GB"]


# Progress.


def test_a_log_file_gets_a_line_now_and_then_and_no_carriage_returns(capsys, monkeypatch):
    fitted(epochs=50, progress=True, validation_data=(X, Y), metrics=["r2"])
    err = capsys.readouterr().err
    assert "\r" not in err
    assert re.fullmatch(r"100%.* 50/50 .*, cost=[\d.]+, validation=[\d.]+, r2=[\d.e-]+\]\n", err)
    monkeypatch.setattr(progress_bar, "LOG_SECONDS", 0.0)
    fitted(epochs=3, progress=True, metrics=["r2"])
    numbers = [re.search(r"(\d)/3", line)[1] for line in capsys.readouterr().err.splitlines()]
    assert numbers == ["1", "2", "3", "3"]


def test_a_terminal_gets_a_bar_and_no_thread_outlives_it(capsys, monkeypatch):
    before = set(threading.enumerate())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fitted(epochs=50, progress=True, validation_data=(X, Y), metrics=["r2"])
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    last = err.split("\r")[-1]
    assert re.search(r"50/50 .*cost=[\d.]+, validation=[\d.]+, r2=[\d.e-]+\]\n", last), last
    assert set(threading.enumerate()) <= before


def test_long_epochs_move_the_bar_by_parts(capsys, monkeypatch):
    monkeypatch.setattr("fastbp.training.autotune.SLICE_SECONDS", 1e-9)
    monkeypatch.setattr(progress_bar, "LOG_SECONDS", 0.0)
    fitted(epochs=1, progress=True)
    err = capsys.readouterr().err
    assert "1/1" in err
    fitted(epochs=1, progress=True, batch_size=4)
    assert "0.17/1" in capsys.readouterr().err
    assert "cost=" in err


def test_a_training_that_ends_early_says_where(capsys):
    fitted(epochs=50, progress=True, callbacks=[lambda state: state.epoch == 7])
    assert " 7/50 " in capsys.readouterr().err
