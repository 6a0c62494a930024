"""Softmax and its cross-entropy on packed rows: several examples of a few outputs in one vector (ir/packed_rows.py)."""

import functools
import math
import operator

from fastbp.core.formulas.elementary import exp, log
from fastbp.core.ir.kernel import INT, POINTERS, VOID, kernel, lanes_of, wide_vectors
from fastbp.core.ir.packed_rows import columns_of
from fastbp.core.ir.shuffles import combine_groups
from fastbp.core.ir.traced import maximum, procedure, select
from fastbp.core.layers.packed_outputs import Outputs, loss_of_few


def exponentials(outputs, z):
    """e^(z_j - max z), their sum and max z."""
    top = combine_groups(outputs.here(z, -math.inf), outputs.packed.columns, maximum)
    e = outputs.here(exp(z - top), 0.0)
    return e, outputs.sum(e), top


@functools.cache
def packed_softmax(size, width):
    """As `wide.wide_softmax`."""
    outputs = Outputs(lanes_of(size), width)

    def all_rows(a, z, rows, stride):
        def compute(n, last):
            e, total, _ = exponentials(outputs, outputs.load(z, n, stride, last))
            outputs.store(e / total, a, n, stride, last)

        outputs.packed.each(rows, compute)

    compute_all = procedure(all_rows)

    @kernel(VOID(POINTERS[size], POINTERS[size], INT, INT, INT), size, width)
    def packed_softmax(a, z, rows, width, stride):
        wide_vectors()
        compute_all(a, z, rows, stride)

    return packed_softmax


def nan_unless_class(x, c, width):
    """x where c is a class index 0 … width - 1, else NaN."""
    return select(functools.reduce(operator.or_, (c == float(j) for j in range(width))), x, math.nan)


def cross_entropy(outputs, z, c, weight, factor):
    """Of class indices: w (log Σ_i e^z_i - z_c), and w (p_j - [j = c]), scaled; NaN if c is no class index."""
    e, total, top = exponentials(outputs, z)
    total_n = nan_unless_class(outputs.one(total), c, outputs.width)
    hit, share = z.lanewise(outputs.j) == outputs.all(c), factor / total_n
    z_c = outputs.one(outputs.sum(select(hit, z, 0.0)))
    cost = weight * (log(total_n) + (outputs.one(top) - z_c))
    return cost, outputs.all(share) * select(hit, e - total, e)


@functools.cache
def packed_cross_entropy(size, width):
    """As `wide.wide_cross_entropy`, for `lanes` examples at once, with one logarithm for all."""
    return loss_of_few(cross_entropy, columns_of(width), "classes", size, width, 1)
