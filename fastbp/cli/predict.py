"""fastbp predict: a trained network's outputs for rows of data."""

import argparse
import sys
from pathlib import Path

import numpy as np

from fastbp.cli.common import digits, load
from fastbp.data import read_inputs, tables
from fastbp.storage import files

DESCRIPTION = """Print one line per row of DATA: the class, or the outputs separated by commas. DATA is as for
training; targets are not needed and not used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, and `run`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that `fastbp train --output` or Model.save wrote")
    add("data", metavar="DATA", help="digits, a .npz file or a .csv file")
    add("--output", type=Path, metavar="FILE", help="write there: .npy for an array, else text; .gz compresses it")
    add("--raw", action="store_true", help="a classifier's outputs (probabilities), not its classes")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes a line for each row."""
    if options.output:
        files.check_target(options.output)
    model = load(options.model)
    n_inputs = model.network.n_inputs
    X = digits()[0] if options.data == "digits" else read_inputs(options.data, n_inputs)
    outputs = model.predict(X)
    if model.network.output == "softmax" and not options.raw:
        outputs = np.argmax(outputs, axis=1)[:, None]
    if options.output:
        files.replace(options.output, tables.as_bytes(outputs, options.output.suffix))
    else:
        tables.write_text(sys.stdout, outputs)
