"""The report as text and as a page, and the importance of columns."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from fastbp import TableModel
from fastbp.table import page, report
from fastbp.table.importance import permutation


def table(n=300):
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, n))
    return pd.DataFrame({"x": x, "<noise>": noise, "y": 2 * x})


@pytest.fixture(scope="module")
def numbers():
    return TableModel((16,)).fit(table(), epochs=40, test_size=0.3)


@pytest.fixture(scope="module")
def classes():
    frame = table().assign(y=lambda f: np.where(f.x > 0, "plus & more", "minus"))
    return TableModel((16,)).fit(frame, epochs=40, test_size=0.3)


class Checker(HTMLParser):
    """Counts tags; fails on one that is closed out of order, and on what a page would load or run."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "img", "iframe")
        assert not {"src", "href", "onload"} & dict(attributes).keys()
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_important_column_comes_first(numbers, classes):
    for model in (numbers, classes):
        (first, high), (second, low) = permutation(model, model.tested)
        assert (first, second) == ("x", "<noise>")
        assert high > 0.3 > 10 * abs(low)


def test_page_of_numbers(numbers):
    found = Checker(page.html(numbers, permutation(numbers, numbers.tested), "data <1>.csv"))
    assert found.tags.count("svg") == 4  # learning curve, predictions, residuals, importance
    assert found.tags.count("circle") == 2 * len(numbers.tested)
    assert found.tags.count("polyline") == 2
    assert "data <1>.csv" in found.text
    assert "<noise>" in found.text


def test_page_of_classes(classes):
    found = Checker(page.html(classes, [], "data.csv"))
    assert found.tags.count("svg") == 1
    assert found.tags.count("table") == 2  # confusion and columns
    assert "plus & more" in found.text


def test_text(numbers, classes):
    assert report.of_training(numbers)[1] == "data      178 rows to train, 32 to stop early, 90 to test"
    lines = report.of_classes(classes, classes.tested)
    assert lines[0].split() == ["class", "rows", "precision", "recall"]
    assert lines[2].startswith("plus & more")
    assert report.of_columns(classes.found)[-1].split()[:3] == ["y", "text", "0"]


def test_a_model_that_is_not_better_than_the_baseline_gets_a_warning():
    scores = {"r2": -0.1, "mae": 2, "baseline_mae": 1, "rmse": 2, "baseline_rmse": 1}
    assert report.of_scores(scores)[-1].startswith("warning")
    assert len(report.of_scores(scores | {"rmse": 0.5})) == 3
