"""The report of a training on a table as one HTML page: inline SVG, no scripts, nothing from elsewhere."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from fastbp.table import report, scores
from fastbp.table.columns import Found
from fastbp.table.model import TableModel

Floats = NDArray[np.float64]

WIDTH, HEIGHT, MARGIN = 520, 280, 60
MOST_POINTS = 2000
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
th { border-bottom: 1px solid #999 } svg { max-width: 100% } svg text { font: 12px system-ui, sans-serif }
.warning { background: #fde8c8; padding: .5rem }"""
COLOURS = ("#2364aa", "#d1495b")


def html(model: TableModel, important: Sequence[tuple[str, float]], source: str) -> str:
    """The page for a model that was just fitted, with the rows it was tested on."""
    found = model.evaluate(model.tested)
    lines = [*report.of_training(model), *report.of_scores(found)]
    parts = [f"<h1>{escape(source)}</h1>", "".join(map(_line, lines)), "<h2>Learning curve</h2>", _curves(model)]
    y, outputs = model.targets.encode(model.tested), model.outputs(model.tested)
    if model.targets.labels is not None:
        labels = [str(label) for label in model.targets.labels]
        confusion = scores.of_each_class(y, outputs.argmax(axis=1), len(labels))[2]
        parts += ["<h2>Confusion matrix</h2><p>Rows: the truth; columns: the prediction.</p>"]
        parts += [f"<pre>{escape(chr(10).join(report.of_classes(model, model.tested)))}</pre>"]
        parts += [_table(("", *labels), [(labels[i], *row) for i, row in enumerate(confusion.tolist())])]
    else:
        for j, name in enumerate(model.targets.names):
            truth, predicted = y[:, j].astype(float), outputs[:, j].astype(float)
            parts += [f"<h2>{escape(name)}: prediction over truth</h2>", scatter(truth, predicted, diagonal=True)]
            parts += [f"<h2>{escape(name)}: residual over prediction</h2>", scatter(predicted, truth - predicted)]
    if important:
        parts += ["<h2>Importance</h2><p>Increase of the error when a column's cells are shuffled.</p>"]
        parts += [bars(important)]
    parts += ["<h2>Columns</h2>", columns(model.found)]
    head = f'<meta charset="utf-8"><title>{escape(source)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _line(line: str) -> str:
    kind = ' class="warning"' if line.startswith("warning") else ""
    return f"<p{kind}>{escape(line)}</p>\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def row(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + "\n".join([row(head, "th"), *(row(cells, "td") for cells in rows)]) + "</table>"


def columns(found: Sequence[Found]) -> str:
    """The table of columns."""
    rows = [(f.name, f.kind, f.missing, f.distinct, f.becomes) for f in found]
    return _table(("column", "kind", "missing", "distinct", "becomes"), rows)


# --- drawings ---------------------------------------------------------------------------------------------------------


def _svg(body: str, height: int = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">{body}</svg>'


def _scale(values: Floats, low: float, high: float) -> tuple[float, float]:
    """(slope, offset) of the map of the values' range to low … high."""
    least, most = float(values.min()), float(values.max())
    slope = (high - low) / ((most - least) or 1.0)
    return slope, low - slope * least


def _axes(x: Floats, y: Floats) -> str:
    """The frame, and the least and the largest value of each axis."""
    right, bottom = WIDTH - 10, HEIGHT - 30
    box = f'<path d="M{MARGIN} 10V{bottom}H{right}" fill="none" stroke="#999"/>'
    labels = [(MARGIN, bottom + 18, "start", x.min()), (right, bottom + 18, "end", x.max())]
    labels += [(MARGIN - 6, bottom, "end", y.min()), (MARGIN - 6, 20, "end", y.max())]
    return box + "".join(f'<text x="{a}" y="{b}" text-anchor="{c}">{v:.4g}</text>' for a, b, c, v in labels)


def scatter(x: Floats, y: Floats, diagonal: bool = False) -> str:
    """Points; with the diagonal, both axes have one range."""
    if len(x) > MOST_POINTS:
        chosen = np.random.default_rng(0).choice(len(x), MOST_POINTS, replace=False)
        x, y = x[chosen], y[chosen]
    range_x, range_y = (np.concatenate([x, y]),) * 2 if diagonal else (x, np.append(y, 0.0))
    (ax, bx), (ay, by) = _scale(range_x, MARGIN, WIDTH - 10), _scale(range_y, HEIGHT - 30, 10)
    guide = f"M{MARGIN} {HEIGHT - 30}L{WIDTH - 10} 10" if diagonal else f"M{MARGIN} {by:.1f}H{WIDTH - 10}"
    points = "".join(
        f'<circle cx="{ax * a + bx:.1f}" cy="{ay * b + by:.1f}" r="2.5" fill="{COLOURS[0]}" fill-opacity=".5"/>'
        for a, b in zip(x, y, strict=True)
    )
    return _svg(_axes(range_x, range_y) + f'<path d="{guide}" stroke="#999" stroke-dasharray="4"/>' + points)


def _curves(model: TableModel) -> str:
    """The costs over the epochs, logarithmic if all are positive."""
    history = model.history
    named = {"training": history.cost, "held out": history.validation_cost}
    curves = {name: values for name, values in named.items() if len(values)}
    everything = np.concatenate(list(curves.values()))
    logarithmic = bool((everything > 0).all())
    transform = np.log10 if logarithmic else np.positive
    epochs = np.arange(1.0, len(history) + 1)
    (ax, bx), (ay, by) = _scale(epochs, MARGIN, WIDTH - 10), _scale(transform(everything), HEIGHT - 30, 10)
    body = _axes(epochs, everything)
    for i, (name, values) in enumerate(curves.items()):
        points = " ".join(
            f"{ax * a + bx:.1f},{ay * b + by:.1f}" for a, b in zip(epochs, transform(values), strict=True)
        )
        body += f'<polyline points="{points}" fill="none" stroke="{COLOURS[i]}"/>'
        body += f'<text x="{WIDTH - 20}" y="{24 + 16 * i}" text-anchor="end" fill="{COLOURS[i]}">{name}</text>'
    note = "cost over epochs" + ", logarithmic" * logarithmic
    return _svg(body + f'<text x="{WIDTH // 2}" y="{HEIGHT - 8}" text-anchor="middle">{note}</text>')


def bars(important: Sequence[tuple[str, float]]) -> str:
    """A bar for each column."""
    most = max(max(value for _, value in important), 1e-300)
    body = ""
    shown = important[: report.MOST_LINES]
    for i, (name, value) in enumerate(shown):
        width, y = max(value, 0) / most * (WIDTH - 260), 22 * i
        body += f'<text x="170" y="{y + 15}" text-anchor="end">{escape(name[:26])}</text>'
        body += f'<rect x="180" y="{y + 3}" width="{width:.1f}" height="16" fill="{COLOURS[0]}"/>'
        body += f'<text x="{185 + width:.1f}" y="{y + 15}">{value:.3g}</text>'
    return _svg(body, 22 * len(shown) + 4)
