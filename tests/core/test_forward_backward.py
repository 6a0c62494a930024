"""z, a and the derivatives by them, layer by layer, are those of the textbook's loops and of the slow twin."""

import numpy as np
import pytest
import twin
from against_twin import (
    ACTIVATIONS,
    DEPTHS,
    DTYPES,
    EVERY,
    LOSSES,
    OUTPUTS,
    TOLERANCE,
    assert_close,
    assert_gradient,
    check,
    model_of,
    numeric_gradient,
)
from kernel_calls import WIDTHS

from fastbp import Model
from fastbp.core import reference


@pytest.mark.parametrize("sigma", reference.ACTIVATIONS)
def test_layers_of_every_width_are_the_loops_of_the_textbook(sigma):
    rng = np.random.default_rng(1)
    for i, width in enumerate(WIDTHS):
        sizes, rows = (WIDTHS[i - 31], width, WIDTHS[i - 11]), 1 + i % 23
        model = Model(sizes, sigma, sigma, "squared_error", dtype="float64", seed=i)
        X, y = rng.normal(size=(rows, sizes[0])), rng.normal(size=(rows, sizes[-1]))
        forward, backward = model.forward(X), model.backward(X, y)
        value, slope = reference.ACTIVATIONS[sigma]
        for l, (w, b) in enumerate(zip(model.weights, model.biases, strict=True)):
            z, a = np.empty((2, rows, sizes[l + 1]))
            reference.forward(z, a, forward.a[l], np.ascontiguousarray(w), np.ascontiguousarray(b), value)
            assert_close(forward.z[l], z, 1e-12, f"z of layer {l} of {sizes}")
            np.testing.assert_allclose(forward.a[l + 1], a, rtol=1e-12, atol=1e-14)
        da = np.empty_like(y)
        reference.squared_error(da, forward.a[-1], y)
        for l in (1, 0):
            w, z = np.ascontiguousarray(model.weights[l]), forward.z[l]
            dz, da_below = np.empty_like(z), np.empty((rows, sizes[l]))
            reference.backward(da_below, dz, da, z, w, slope)
            np.testing.assert_allclose(backward.da[l], da, rtol=1e-10, atol=1e-13)
            np.testing.assert_allclose(backward.dz[l], dz, rtol=1e-10, atol=1e-13)
            da = da_below


@DTYPES
def test_every_activation_in_every_layer_is_the_twins(dtype):
    """Rotations of the list: each is once in the first hidden layer, once in the second, once the output."""
    for i in range(len(EVERY)):
        first, second, output = (EVERY[(i + step) % len(EVERY)] for step in (0, 5, 11))
        net = twin.Net((3, 5, 4, 2), (first, second), output)
        model, theta, X, y, gradient = check(net, 6, dtype)
        (z, a), (dz, da) = twin.forward(net, theta, X), twin.backward(net, theta, X, y)
        found = [*model.forward(X).z, *model.forward(X).a, *model.backward(X, y).dz, *model.backward(X, y).da]
        for some, expected in zip(found, [*z, *a, *dz, *da], strict=True):
            assert_close(some, expected, TOLERANCE[dtype], f"forward and backward of {net}")
        if dtype == "float64":
            assert_gradient(net, gradient, numeric_gradient(model, theta, X, y), 1e-6)


@DTYPES
@pytest.mark.parametrize("output", OUTPUTS)
def test_forward_and_predict_show_the_twins_z_and_a(output, dtype):
    for hidden in ACTIVATIONS:
        for sizes in DEPTHS.values():
            net = twin.Net(sizes, hidden, output)
            theta, X, _ = twin.problem(net, rows=9)
            model = model_of(net, theta, dtype)
            found, (z, a) = model.forward(X), twin.forward(net, theta, X)
            assert len(found.z) == len(z)
            assert len(found.a) == len(a)
            for some, expected in zip([*found.z, *found.a], [*z, *a], strict=True):
                assert some.dtype == np.dtype(dtype)
                assert_close(some, expected, TOLERANCE[dtype], f"forward of {net}")
            np.testing.assert_array_equal(found.a[0], X)
            np.testing.assert_array_equal(found.a[-1], model.predict(X))


@DTYPES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_backward_shows_the_twins_derivatives(output, loss, reduction, dtype):
    weight = np.array([1.0, 0.5, 0.0, 2.0, 0.25, 1.0])
    for hidden in ACTIVATIONS:
        for sizes in (DEPTHS[1], DEPTHS[2], DEPTHS[4]):
            net = twin.Net(sizes, hidden, output, loss, reduction=reduction)
            theta, X, y = twin.problem(net, rows=6)
            found = model_of(net, theta, dtype).backward(X, y, sample_weight=weight)
            dz, da = twin.backward(net, theta, X, y, weight)
            assert len(found.dz) == len(dz)
            assert len(found.da) == len(da)
            for some, expected in zip([*found.dz, *found.da], [*dz, *da], strict=True):
                assert_close(some, expected, TOLERANCE[dtype], f"backward of {net}")
