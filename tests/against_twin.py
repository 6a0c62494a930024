"""The model of a twin's network, and what close to the twin means."""

import dataclasses
from functools import cache

import numpy as np
import pytest
import twin

from fastbp import Model

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
"""Of the largest component."""

DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)
ACTIVATIONS = ["identity", "sigmoid", "tanh", "relu"]  # with every loss, depth and width; all others are rows alike
EVERY = [name for name in twin.ACTIVATIONS if name != "softmax"]
OUTPUTS = [*ACTIVATIONS, "softmax"]
LOSSES = ["squared_error", "half_squared_error", "cross_entropy", "binary_cross_entropy"]  # others: test_losses.py
DEPTHS = {1: (5, 3), 2: (5, 7, 3), 3: (5, 7, 6, 3), 4: (5, 7, 6, 4, 3)}
SMALL_DEPTHS = {1: (3, 2), 2: (3, 4, 2), 3: (2, 4, 3, 2), 4: (2, 3, 4, 3, 2)}


def model_with(output, *arguments, **options):
    """Model(*arguments, output=output, **options) without the check that the output fits the loss."""
    model = Model(*arguments, **options)
    model.network = dataclasses.replace(model.network, output=output)
    return model


def model_of(net, theta, dtype):
    return model_with(
        net.output,
        net.sizes,
        hidden=net.hidden,
        loss=net.loss,
        bias=net.bias,
        dtype=dtype,
        initial=theta.astype(dtype),
        reduction=net.reduction,
        l1=net.l1,
        l2=net.l2,
    )


def assert_close(found, expected, tolerance, what=""):
    """Equal within tolerance times the largest component."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, what
    error = np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"{what} is off by {error:.2g} of its largest component"


def assert_gradient(net, found, expected, tolerance):
    """Every block of the gradient is close, and none is all zeros."""
    found_blocks, expected_blocks = twin.blocks(net, found), twin.blocks(net, expected)
    for name, block in found_blocks.items():
        assert np.any(block), f"∂C/∂{name} is all zeros: {net}"
        assert np.any(expected_blocks[name]), f"∂C/∂{name} is all zeros in the twin: {net}"
        assert_close(block, expected_blocks[name], tolerance, f"∂C/∂{name} of {net}")


@cache
def solved(net, rows, seed, classes, sample_weight):
    """A problem and the twin's (cost, gradient) for it, computed once for both dtypes."""
    theta, X, y = twin.problem(net, rows, seed, classes)
    return theta, X, y, *twin.value_and_gradient(net, theta, X, y, sample_weight)


def check(net, rows, dtype, seed=0, classes=False, sample_weight=None):
    """The model's cost and gradient are the twin's; returns model, theta, X, y and the model's gradient."""
    theta, X, y, twin_cost, twin_gradient = solved(net, rows, seed, classes, sample_weight)
    model = model_of(net, theta, dtype)
    cost, gradient = model.value_and_gradient(X, y, sample_weight=sample_weight)
    assert gradient.dtype == np.dtype(dtype)
    assert_close(cost, twin_cost, TOLERANCE[dtype], f"the cost of {net} with {rows} rows")
    assert_gradient(net, gradient, twin_gradient, TOLERANCE[dtype])
    return model, theta, X, y, gradient


def numeric_gradient(model, theta, X, y):
    """Signed central differences of the model's own cost."""
    return twin.central_differences(lambda t: model.value_and_gradient(X, y, theta=t)[0], theta)
