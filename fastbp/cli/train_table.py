"""fastbp train on a table with named columns: TableModel, and its report."""

import argparse
import io

from fastbp import plots
from fastbp.cli.common import form_of, path_of, words
from fastbp.optimizers import Optimizer
from fastbp.storage import files
from fastbp.table import importance, page, report
from fastbp.table.model import PATIENCE, TableModel
from fastbp.table.read import read


def run(options: argparse.Namespace, optimizer: Optimizer) -> None:
    """Reads, trains, reports, saves."""
    path, target = path_of(options.data)
    table = read(path, form_of(options))
    for note in table.notes:
        print(f"file      {note}")
    given = {} if options.loss is None else {"loss": options.loss}
    model = TableModel(options.hidden, activation=options.activation, dtype=options.dtype, seed=options.seed, **given)
    model.fit(
        table.frame,
        words(options.target) or target,
        ignore=words(options.ignore) or (),
        keep=words(options.keep) or (),
        keep_index=options.keep_index,
        task=options.task,
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=optimizer,
        class_weight=options.class_weight,
        test_size=options.test_size,
        patience=options.patience or PATIENCE,
        n_threads=options.threads,
        progress=not options.quiet,
    )
    _print(report.of_columns(model.found), report.of_training(model))
    important: list[tuple[str, float]] = []
    if model.tested is not None:
        _print(report.of_scores(model.evaluate(model.tested)))
        if model.targets.labels:
            _print(report.of_classes(model, model.tested))
        if options.importance:
            important = importance.permutation(model, model.tested)
            _print(report.of_importance(important))
    if options.output:
        model.save(options.output)
        print(f"model     {options.output}")
    if options.report:
        files.replace(options.report, page.html(model, important, options.data).encode())
        print(f"report    {options.report}")
    if options.plot:
        drawing = io.BytesIO()
        model.history.plot(plots.file_axes()).figure.savefig(drawing, format=options.plot.suffix[1:].lower())
        files.replace(options.plot, drawing.getvalue())
        print(f"plot      {options.plot}")


def _print(*blocks: list[str]) -> None:
    for block in blocks:
        print("\n".join(block), flush=True)
