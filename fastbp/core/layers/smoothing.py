"""Label smoothing of a caller's targets: y (1 - ε) + ε / K, with class indices as rows of K."""

import math

from fastbp.core.ir.kernel import inline
from fastbp.core.ir.memory import rounded
from fastbp.core.layers.softmax.wide import class_of


@inline
def smooth(out, y, rows, columns, classes, kept, spread):
    """Overwrites out (rows, columns): y (1 - ε) + ε / K, or NaN for a class index that is none; classes: y is (rows,).

    In the order of operations, each rounded, of `targets.smoothed`.
    """
    kept, spread = rounded(kept, out), rounded(spread, out)
    for n in range(rows):
        index = class_of(y[n], columns) if classes else 0
        for j in range(columns):
            target = y[n * columns + j] if not classes else rounded(1.0 if index == j else 0.0, out)
            smoothed = rounded(rounded(target * kept, out) + spread, out)
            out[n * columns + j] = smoothed if index >= 0 else rounded(math.nan, out)
