"""Activations of the user's own: as good as those of the table in a network, checked, saved by name."""

import copy
import dataclasses
import math
import pickle

import numba
import numpy as np
import pytest
import twin
from custom_functions import bump, bump_curvature, bump_slope, root, root_slope
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp import Activation, Model, Network, jit
from fastbp.core.layers import activation_kernels

BUMP = Activation(bump, bump_slope, bump_curvature)
ROOT = Activation(root, root_slope, name="square root")
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


@pytest.fixture(autouse=True)
def _known_to_the_twin(monkeypatch):
    rows = {
        BUMP: twin.Activation(lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2, None),
        ROOT: twin.Activation(lambda z: np.hypot(1, z), lambda z: z / np.hypot(1, z), None),
    }
    for name, row in rows.items():
        monkeypatch.setitem(twin.ACTIVATIONS, name, row)


def model_and_data(dtype="float64"):
    net = twin.Net((3, 9, 6, 2), (BUMP, "tanh"), ROOT)
    theta, X, y = twin.problem(net, rows=7)
    return net, theta, X, y, Model(net.sizes, net.hidden, net.output, dtype=dtype, initial=theta.astype(dtype))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_cost_and_gradient_are_the_twins_with_custom_hidden_and_output(dtype):
    net, theta, X, y, model = model_and_data(dtype)
    cost, gradient = model.value_and_gradient(X, y)
    twin_cost, expected = twin.value_and_gradient(net, theta, X, y)
    assert cost == pytest.approx(twin_cost, rel=TOLERANCE[dtype])
    np.testing.assert_allclose(gradient, expected, atol=TOLERANCE[dtype] * np.abs(expected).max())
    assert model.check_gradient(X, y).passed
    assert model.predict(X).dtype == np.dtype(dtype)
    np.testing.assert_allclose(model.forward(X).a[-1], twin.predict(net, theta, X), rtol=TOLERANCE[dtype] * 10)


@numba.njit
def predicted(net, theta, X, out, workspace):
    jit.predict(net, theta, X, out, workspace)


def test_it_trains_with_the_same_bits_for_any_number_of_threads_and_predicts_inside_compiled_code():
    _, _, X, y, _ = model_and_data()
    found = []
    for n_threads in (1, 2):
        model = model_and_data()[-1]
        history = model.fit(X, y, epochs=20, batch_size=3, n_threads=n_threads)
        assert history.cost[-1] < history.cost[0]
        found.append(model.parameters)
    np.testing.assert_array_equal(*found)
    out = np.empty((len(X), 2))
    predicted(model.compiled(), model.parameters, X, out, model.workspace())
    np.testing.assert_array_equal(out, model.predict(X))


def test_a_float32_model_computes_it_for_float32_numbers():
    third = Activation(lambda z: z * z * z, lambda z: 3 * z * z, name="cube")
    model = Model((1, 1), output=third, dtype="float32", bias=False, initial=np.array([1.0], "f4"))
    x = np.float32(1.1)
    assert model.predict([[x]])[0, 0] == x * x * x


def test_its_second_derivative_is_a_kernel_like_those_of_the_table():
    z = np.linspace(-2, 2, 8)
    out = np.empty_like(z)
    activation_kernels.second(BUMP, 8).ctypes(out.ctypes.data, z.ctypes.data, z.ctypes.data, 2, 4, 4)
    np.testing.assert_allclose(out, [bump_curvature(z_i) for z_i in z], rtol=1e-15)


def test_functions_that_numba_has_compiled_are_taken_as_they_are():
    inner = numba.njit(lambda z: z * z)
    square = Activation(numba.njit(lambda z: inner(z)), lambda z: 2 * z, name="square")
    np.testing.assert_array_equal(Model((1, 1), output=square, initial=np.array([3.0, 0.0])).predict([[2.0]]), [[36.0]])


# What is refused.


@settings(max_examples=8, deadline=None)
@given(st.floats(0.9, 1.1).filter(lambda c: abs(c - 1) > 1e-4))
def test_a_derivative_that_is_wrong_by_a_factor_is_found(factor):
    from fastbp.activations import POINTS, check_slope

    with pytest.raises(ValueError, match="derivative must be the slope of value: at z = "):
        check_slope("derivative", lambda z: factor * np.cos(z), "value", np.sin)
    check_slope("derivative", np.cos, "value", np.sin)
    assert POINTS.size == 40


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ((bump, root_slope), r"derivative must be the slope of value: at z = -?\d.* it is .*, central differences of"),
        ((bump, bump_slope, root), "second must be the slope of derivative: at z = "),
        (
            (lambda z: math.log(z) if z > 0 else math.nan, root),
            "value must be finite .*, got nan at z = -9.73",
        ),
        (
            (lambda z: z.upper(), root),
            "value must be a function of one number z to a number that numba compiles: .*upper",
        ),
        ((bump, lambda z: "one"), "derivative must be a function of one number z to a number that numba compiles"),
        ((bump, lambda z, a: a), "derivative must be a function of one number z to a number that numba compiles"),
        ((bump, bump_slope, bump_curvature, root), "third must be the slope of second: at z = "),
        ((bump, bump_slope, None, root), "second must be given with third"),
        ((bump, bump_slope, lambda z: sorted(z)), "second must be a function of one number z to a number that numba"),
    ],
)
def test_wrong_functions_are_refused_with_where_and_why(functions, message):
    with pytest.raises(ValueError, match=message):
        Activation(*functions[:3], name="mine", third=functions[3] if len(functions) > 3 else None)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (
            (math.sin, math.cos, None, "sine"),
            TypeError,
            "value must be a Python function of .*, got <built-in",
        ),
        ((bump, "relu"), TypeError, "derivative must be a Python function of one number z, got 'relu'"),
        ((bump, bump_slope, None, 3), TypeError, "name must be a string, got 3"),
        ((bump, bump_slope, None, "relu"), ValueError, "name must not be empty or that of another .* 'relu'"),
        ((bump, bump_slope, None, "softmax"), ValueError, "name must not be empty or that of another"),
        ((bump, bump_slope, None, ""), ValueError, "name must not be"),
    ],
)
def test_wrong_arguments_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=message):
        Activation(*arguments)


def test_two_activations_of_one_name_are_refused_and_so_is_a_bare_function():
    other = Activation(root, root_slope, name="bump")
    with pytest.raises(ValueError, match="must not have different activations of one name"):
        Network((2, 3, 1), hidden=BUMP, output=other)
    with pytest.raises(TypeError, match="hidden must be an activation or a sequence of them, got <function"):
        Network((2, 3, 1), hidden=bump)
    with pytest.raises(TypeError, match=r"output must be one of identity, .* got <function"):
        Network((2, 3, 1), output=bump)


# Keeping.


def test_networks_with_it_are_frozen_hashable_and_equal():
    network = Network((2, 3, 1), BUMP, ROOT)
    assert network == Network((2, 3, 1), (Activation(bump, bump_slope, bump_curvature),), ROOT)
    assert hash(network) == hash(Network((2, 3, 1), BUMP, ROOT))
    assert network != Network((2, 3, 1), BUMP, BUMP)
    assert network.hidden == (BUMP,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        BUMP.name = "other"
    assert "Activation('bump')" in repr(Model((2, 3, 1), BUMP))


def test_it_is_saved_by_name_and_asked_for_at_load(tmp_path):
    *_, X, y, model = model_and_data()
    model.fit(X, y, epochs=3)
    model.save(tmp_path / "model")
    for custom in ([BUMP, ROOT], (ROOT, BUMP)):
        loaded = Model.load(tmp_path / "model", custom=custom)
        assert loaded.network == model.network
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    for custom in ([], [BUMP]):
        missing = "square root" if custom else "bump"
        with pytest.raises(LookupError, match=f"the custom activation '{missing}': give it as Model.load"):
            Model.load(tmp_path / "model", custom)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_pickles_of_a_model_keep_it(copied):
    *_, X, y, model = model_and_data()
    twin_model = copied(model)
    assert twin_model.network == model.network
    np.testing.assert_array_equal(twin_model.predict(X), model.predict(X))
    for each in (model, twin_model):
        each.fit(X, y, epochs=2)
    np.testing.assert_array_equal(twin_model.parameters, model.parameters)


def test_pickling_a_model_with_functions_that_have_no_place_in_a_module_says_so():
    local = Activation(lambda z: 2 * z, lambda z: 2.0, name="twice")
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(Model((2, 1), output=local))


def test_lambdas_need_no_name_and_load_takes_one_object_several_or_a_dict(tmp_path):
    square, X = Activation(lambda z: z * z, lambda z: 2 * z), np.eye(3)
    model = Model((3, 4, 2), hidden=square)
    model.save(tmp_path / "model")
    for custom in (square, [square], (square,), {"custom": square}):
        assert Model.load(tmp_path / "model", custom=custom).predict(X).tobytes() == model.predict(X).tobytes()
    with pytest.raises(LookupError, match="the model has the custom activation 'custom'"):
        Model.load(tmp_path / "model", custom=Activation(lambda z: z * z, lambda z: 2 * z, name="other"))
