"""Drawings with matplotlib, which is optional: learning curves, predictions against truth, confusion matrices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.inputs.classes import predicted_classes

Array = NDArray[Any]

MISSING = 'drawing needs matplotlib: pip install "fastbp[plot]"'


def canvas() -> Any:
    """The class of canvases that draw into files, without a screen. ImportError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise ImportError(f"{MISSING} ({error})") from error
    return FigureCanvasAgg


def file_axes() -> Any:
    """Axes whose figure is for a file: `axes.figure.savefig(path)`."""
    kind = canvas()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    kind(figure)
    return figure.add_subplot()


def screen_axes() -> Any:
    """Axes of pyplot, which notebooks show by themselves and scripts by `pyplot.show()`."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(f"{MISSING} ({error})") from error
    return pyplot.subplots(layout="constrained")[1]


def learning_curve(epochs: Array, curves: dict[str, Array], axes: Any = None) -> Any:
    """Costs after the epochs, by label; on a logarithmic scale, where all are positive."""
    axes = screen_axes() if axes is None else axes
    for label, cost in curves.items():
        if cost.size:
            axes.plot(epochs, cost, label=label)
    if all(np.all(cost > 0) for cost in curves.values()):
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="cost")
    axes.legend()
    return axes


def predictions(y: Array, outputs: Array, classes: Array | None, axes: Any = None) -> Any:
    """A confusion matrix where there are classes, predictions over the truth y for all other targets."""
    axes = screen_axes() if axes is None else axes
    if classes is None:
        return _scatter(y, outputs, axes)
    matrix = np.zeros((max(outputs.shape[1], 2),) * 2, np.int64)
    np.add.at(matrix, (classes, predicted_classes(outputs)), 1)
    return _confusion(matrix, axes)


def _scatter(y: Array, outputs: Array, axes: Any) -> Any:
    for j in range(y.shape[1]):
        axes.scatter(y[:, j], outputs[:, j], s=8, label=f"output {j}")
    ends = [float(min(y.min(), outputs.min())), float(max(y.max(), outputs.max()))]
    axes.plot(ends, ends, color="gray", linewidth=1, zorder=0)
    axes.set(xlabel="truth", ylabel="prediction")
    if y.shape[1] > 1:
        axes.legend()
    return axes


def _confusion(matrix: Array, axes: Any) -> Any:
    axes.imshow(matrix, cmap="Blues")
    for (truth, prediction), count in np.ndenumerate(matrix):
        color = "white" if count > matrix.max() / 2 else "black"
        axes.text(prediction, truth, str(count), ha="center", va="center", color=color)
    ticks = range(len(matrix))
    axes.set(xlabel="predicted class", ylabel="true class", xticks=ticks, yticks=ticks)
    return axes
