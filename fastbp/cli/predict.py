"""fastbp predict: a trained network's outputs for rows of data."""

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.cli.common import UsageError, add_format, digits, form_of, is_array, load, path_of
from fastbp.data import arrays, read_inputs
from fastbp.storage import files
from fastbp.table.columns import numbers_of
from fastbp.table.model import TableModel, as_frame

DESCRIPTION = """Print one line per row of DATA. A model of a table matches columns by name and prints a header and the
predictions by their labels; other models print the class, or the outputs separated by commas. DATA is as for training;
targets are not needed and not used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, and `run`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that `fastbp train --output` or Model.save wrote")
    add("data", metavar="DATA", help="a table, or digits, or a .npz file")
    add("--output", type=Path, metavar="FILE", help="write there: .npy for an array, else text; .gz compresses it")
    add("--probabilities", "--raw", action="store_true", help="of each class, beside it")
    add_format(parser.add_argument_group("tables"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes a line for each row."""
    if options.output:
        files.check_target(options.output)
    _, metadata = files.read(options.model)
    if "table" in metadata:
        _predict_table(options)
        return
    model = load(options.model)
    outputs = model.predict(_inputs(options, model.network.n_inputs))
    if model.network.output == "softmax" and not options.probabilities:
        outputs = np.argmax(outputs, axis=1)[:, None]
    if options.output:
        files.replace(options.output, arrays.as_bytes(outputs, options.output.suffix))
    else:
        arrays.write_text(sys.stdout, outputs)


def _inputs(options: argparse.Namespace, n_inputs: int) -> Any:
    """Inputs of a network without named columns: their number is checked."""
    if options.data == "digits":
        return digits()[0]
    if is_array(options.data):
        return read_inputs(options.data, n_inputs)
    frame = as_frame(path_of(options.data)[0], form_of(options))
    if len(frame.columns) not in (n_inputs, n_inputs + 1):  # with the target
        raise UsageError(f"{options.data} must have {n_inputs} columns (the inputs), got {len(frame.columns)}")
    return np.stack([numbers_of(frame[name]) for name in frame.columns[:n_inputs]], axis=1)


def _predict_table(options: argparse.Namespace) -> None:
    model = TableModel.load(options.model)
    if is_array(options.data):
        raise UsageError(f"{options.model} needs a table with the columns {', '.join(model.kinds)}")
    frame = model.inputs(path_of(options.data)[0], form_of(options))
    outputs, predicted = model.outputs(frame), model.predict(frame)
    for name, count in model.unseen(frame).items():
        print(f"fastbp: {count:,} cells of {name!r} have values that training did not have", file=sys.stderr)
    head, columns = list(model.targets.names), [predicted] if predicted.ndim == 1 else list(predicted.T)
    if options.probabilities:
        if model.targets.labels is None:
            raise UsageError("--probabilities is for classes; this model predicts numbers")
        head += [f"probability of {label}" for label in model.targets.labels]
        columns += list(outputs.T)
    if model.index is not None and model.index in frame.columns:
        head, columns = [model.index, *head], [frame[model.index].to_list(), *columns]
    if options.output and options.output.suffix == ".npy":
        files.replace(options.output, arrays.as_bytes(np.atleast_2d(predicted.T).T, ".npy"))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(zip(*columns, strict=True))
    if options.output:
        compress = arrays.COMPRESSED.get(options.output.suffix, bytes)
        files.replace(options.output, compress(text.getvalue().encode()))
    else:
        sys.stdout.write(text.getvalue())
