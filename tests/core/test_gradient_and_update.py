"""Cost and gradient are those of the slow twin, and the gradient is the slope of the cost by central differences.

float64 agrees to 1e-10 and float32 to 1e-4, relative to the largest component of the block compared; no block
of a gradient may be all zeros, in the twin or in the library.
"""

import numpy as np
import pytest
import twin
from against_twin import (
    ACTIVATIONS,
    DEPTHS,
    DTYPES,
    LOSSES,
    OUTPUTS,
    SMALL_DEPTHS,
    TOLERANCE,
    assert_close,
    assert_gradient,
    check,
    model_of,
    numeric_gradient,
)
from kernel_calls import WIDTHS

from fastbp.core.formulas.activations import ACTIVATIONS as ROWS
from fastbp.core.formulas.activations import Activation

# Every activation with every loss, depths 1 to 4.


@DTYPES
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_gradient_is_the_twins_for_all_activations_losses_and_depths(output, loss, dtype):
    for hidden in ACTIVATIONS:
        for sizes in DEPTHS.values():
            check(twin.Net(sizes, hidden, output, loss), 6, dtype)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_gradient_is_the_signed_slope_of_the_cost(output, loss):
    for hidden in ACTIVATIONS:
        for sizes in SMALL_DEPTHS.values():
            net = twin.Net(sizes, hidden, output, loss)
            model, theta, X, y, gradient = check(net, 6, "float64")
            assert_gradient(net, gradient, numeric_gradient(model, theta, X, y), 1e-6)


@DTYPES
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_check_gradient_passes_and_shows_both_sides(output, loss, dtype):
    """It works in float64 whatever the model's dtype, and leaves the parameters alone."""
    for hidden in ACTIVATIONS:
        net = twin.Net((2, 3, 2), hidden, output, loss)
        theta, X, y = twin.problem(net, rows=5)
        model = model_of(net, theta, dtype)
        result = model.check_gradient(X, y)
        _, expected = twin.value_and_gradient(net, theta, X, y)
        assert result.passed, f"{net}: {result}"
        assert_close(result.analytic, expected, 1e-10)
        assert_close(result.numeric, expected, 1e-6)
        np.testing.assert_array_equal(model.parameters, theta)


@DTYPES
def test_gradient_with_an_activation_of_its_own_for_every_layer(dtype):
    for shift in range(4):
        hidden = tuple(ACTIVATIONS[shift:] + ACTIVATIONS[:shift])
        check(twin.Net((3, 9, 8, 7, 6, 4), hidden, "softmax", "cross_entropy"), 13, dtype)


def test_a_new_activation_is_one_row_of_the_table(monkeypatch):
    derivatives = (lambda z, a: 3.0 * (z * z), lambda z, a: 6.0 * z, lambda z, a: a.constant(6.0))
    row = Activation(lambda z: z * z * z, *derivatives, reads_z=True)
    monkeypatch.setitem(ROWS, "the cube of a test", row)
    cubes = twin.Activation(lambda z: z**3, lambda z: 3 * z**2, lambda z: 6 * z)
    monkeypatch.setitem(twin.ACTIVATIONS, "the cube of a test", cubes)
    check(twin.Net((3, 5, 4, 2), ("the cube of a test", "tanh"), "the cube of a test"), 6, "float64")


@DTYPES
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_gradient_without_biases(hidden, dtype):
    for sizes in DEPTHS.values():
        check(twin.Net(sizes, hidden, "sigmoid", "binary_cross_entropy", bias=False), 4, dtype)
        check(twin.Net(sizes, hidden, "identity", "squared_error", bias=False), 4, dtype)


@DTYPES
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_integer_classes_are_rows_with_a_single_one(output, dtype):
    for n_out in (2, 3, 10, 17, 70):
        net = twin.Net((6, 9, n_out), "tanh", output, "cross_entropy")
        model, _, X, y, gradient = check(net, 37, dtype, classes=True)
        cost, by_rows = model.value_and_gradient(X, np.eye(n_out)[y])
        assert_close(cost, model.value_and_gradient(X, y)[0], TOLERANCE[dtype] / 10)
        assert_close(by_rows, gradient, TOLERANCE[dtype] / 10)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_probabilities_that_sum_to_nearly_one_keep_an_exact_gradient(output):
    net = twin.Net((4, 5, 3), "tanh", output, "cross_entropy")
    theta, X, y = twin.problem(net, rows=6)
    y = y * np.linspace(0.9993, 1.0007, 6)[:, None]
    cost, gradient = model_of(net, theta, "float64").value_and_gradient(X, y)
    twin_cost, twin_gradient = twin.value_and_gradient(net, theta, X, y)
    assert_close(cost, twin_cost, 1e-12)
    assert_gradient(net, gradient, twin_gradient, 1e-10)


# Every width in every role, every batch.


@DTYPES
@pytest.mark.parametrize("shift", [0, 23, 41])
def test_gradient_for_every_width_in_every_role(shift, dtype):
    """Rotations of the same list: each width is once an input, once in both hidden layers, once an output."""
    for i in range(len(WIDTHS)):
        sizes = tuple(WIDTHS[(i + step) % len(WIDTHS)] for step in (0, shift + 11, 2 * shift + 29, shift + 50))
        check(twin.Net(sizes, "tanh", "identity"), 1 + (7 * i + shift) % 70, dtype, seed=i)


@DTYPES
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_gradient_for_every_width_of_a_hidden_layer(hidden, dtype):
    for width in WIDTHS:
        check(twin.Net((3, width, 2), hidden, "softmax", "cross_entropy"), 5, dtype, seed=width)


@DTYPES
@pytest.mark.parametrize(
    ("output", "loss"),
    [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"), ("softmax", "squared_error")],
)
def test_gradient_for_every_width_of_an_output(output, loss, dtype):
    for width in WIDTHS[1:]:
        check(twin.Net((4, 3, width), "sigmoid", output, loss), 7, dtype, seed=width)


@DTYPES
@pytest.mark.parametrize("sizes", [(13, 32, 32, 2), (3, 5, 1), (20, 70, 17, 9), (64, 100, 10)])
def test_gradient_for_every_batch(sizes, dtype):
    for rows in range(1, 71):
        check(twin.Net(sizes, "relu", "identity"), rows, dtype, seed=rows)


@DTYPES
@pytest.mark.parametrize("rows", [100, 127, 200, 513, 1000, 5000])
def test_gradient_for_large_batches(rows, dtype):
    check(twin.Net((8, 20, 6, 3), "tanh", "softmax", "cross_entropy"), rows, dtype, classes=True)


@DTYPES
@pytest.mark.parametrize("rows", [15, 16, 17, 300])
@pytest.mark.parametrize("bias", [True, False])
def test_gradient_where_the_first_layer_has_many_weights(bias, rows, dtype):
    """Its sums are made in halves from 16 examples on."""
    for sizes in [(701, 97, 3), (66, 1000, 2), (65_537, 1)]:
        check(twin.Net(sizes, "tanh", "identity", "squared_error", bias=bias), rows, dtype)


@pytest.mark.parametrize("sizes", [(1, 70, 1), (33, 6, 9), (1, 130, 2), (100, 2, 2), (3, 9, 17, 3)])
def test_gradient_of_wide_layers_is_the_signed_slope_of_the_cost(sizes):
    net = twin.Net(sizes, "relu", "softmax" if sizes[-1] > 1 else "sigmoid", "squared_error")
    model, theta, X, y, gradient = check(net, 9, "float64")
    assert_gradient(net, gradient, numeric_gradient(model, theta, X, y), 1e-6)


# Sample weights, reduction, theta.


@DTYPES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES)
def test_sample_weights_and_reduction(loss, reduction, dtype):
    for output in OUTPUTS:
        for rows in (1, 6, 33, 70):
            weight = np.random.default_rng(rows).integers(0, 9, rows) / 4
            weight[0] = 1.5
            net = twin.Net((5, 7, 3), "tanh", output, loss, reduction=reduction)
            check(net, rows, dtype, sample_weight=tuple(weight))
            check(net, rows, dtype)


@DTYPES
def test_an_example_of_weight_zero_counts_for_nothing(dtype):
    net = twin.Net((5, 7, 3), "tanh", "softmax", "cross_entropy")
    theta, X, y = twin.problem(net, rows=11)
    model, weight = model_of(net, theta, dtype), np.array([1.0] * 8 + [0.0] * 3)
    cost, gradient = model.value_and_gradient(X, y, sample_weight=weight)
    some_cost, some_gradient = model.value_and_gradient(X[:8], y[:8])
    assert_close(cost, some_cost, TOLERANCE[dtype] / 10)
    assert_close(gradient, some_gradient, TOLERANCE[dtype] / 10)


@DTYPES
def test_value_and_gradient_at_another_theta_leaves_the_model_alone(dtype):
    net = twin.Net((5, 7, 3), "tanh")
    theta, X, y = twin.problem(net, rows=8)
    model = model_of(net, theta, dtype)
    cost, gradient = model.value_and_gradient(X, y, theta=(theta / 2).astype(dtype))
    twin_cost, twin_gradient = twin.value_and_gradient(net, theta / 2, X, y)
    assert_close(cost, twin_cost, TOLERANCE[dtype])
    assert_gradient(net, gradient, twin_gradient, TOLERANCE[dtype])
    np.testing.assert_array_equal(model.parameters, theta)
