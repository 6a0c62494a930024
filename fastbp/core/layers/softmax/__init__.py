"""Softmax a_j = e^z_j / Σ_i e^z_i, forward and backward, and cross-entropy with it in one stable form of z:

    C_n = Σ_j y_j (log Σ_i e^z_i - z_j)        dz_j = p_j Σ_i y_i - y_j        p = softmax(z)

With class indices, y_j = [j = c]; a number that is no index of an output makes cost and deltas NaN. The divergence of
Kullback and Leibler is the cross-entropy and Σ_j y_j log y_j. Kernels of three forms have the same signatures, those of
layers/activation_kernels.py and layers/loss.py; `softmax_form` of matmul/forms.py chooses by the number of outputs:

    packed         several examples in one vector
    transposed     a vector holds one output of `lanes` examples
    wide           example by example
"""

from fastbp.core.layers.softmax import packed, transposed, wide
from fastbp.core.matmul.forms import softmax_form
from fastbp.core.matmul.transpose import columns_at_once


def in_form(width, size, of_packed, of_transposed, of_wide):
    """The kernel for `width` outputs, of the makers for each form."""
    match softmax_form(width, size):
        case "packed":
            return of_packed(size, width)
        case "transposed":
            return of_transposed(size, columns_at_once(width, size))
    return of_wide(size)


def forward(width, size):
    """Kernel (a, z, rows, width, stride): a = softmax(z), row by row."""
    return in_form(width, size, packed.packed_softmax, transposed.transposed_softmax, wide.wide_softmax)


def backward(size):
    """Kernel (dz, z, a, da, rows, width, stride): dz_j = a_j (da_j - Σ_i a_i da_i)."""
    return wide.softmax_backward(size)


def cross_entropy(classes, width, size):
    """The kernel of cross-entropy for class indices, or for rows of probabilities."""
    if not classes:
        return wide.of_probabilities(size)
    makers = packed.packed_cross_entropy, transposed.transposed_cross_entropy, wide.wide_cross_entropy
    return in_form(width, size, *makers)


def divergence(classes, width, size):
    """The kernel of the divergence, for rows of probabilities."""
    return wide.of_probabilities(size, divergence=True)
