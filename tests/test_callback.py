"""fastbp.callback: networks as C functions, in SciPy and called by ctypes."""

import ctypes
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from guard import SIDES, Guard

from fastbp import Model, callback
from fastbp.callback import ROOMS, WHAT

scipy = pytest.importorskip("scipy")
from scipy import integrate, ndimage  # noqa: E402

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


def call(function, x):
    """(status, y) of a call by ctypes."""
    x, y = np.array(x, np.float64), np.full(function.n_results, 7.0)
    pointers = (array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (x, y))
    return function.ctypes(*pointers, function.user_data), y


@DTYPES
def test_quad_integrates_what_predict_gives(dtype):
    model = Model((1, 12, 2), "tanh", dtype=dtype)
    x = (np.arange(100_000) + 0.5) / 100_000
    for output in range(2):
        found, _ = integrate.quad(callback.quad(model, output), 0, 1, epsabs=1e-6, epsrel=1e-6)
        expected = model.predict(x[:, None])[:, output].astype(np.float64).mean()
        assert found == pytest.approx(expected, abs=TOLERANCE[dtype])


def test_nquad_integrates_what_predict_gives():
    model = Model((2, 8, 2), "tanh", dtype="float64")
    found, _ = integrate.nquad(callback.nquad(model, 1), [(0, 1), (0, 2)])
    x = (np.arange(1000) + 0.5) / 1000
    grid = np.stack(np.meshgrid(x, 2 * x), -1).reshape(-1, 2)
    assert found == pytest.approx(2 * model.predict(grid)[:, 1].mean(), abs=1e-6)
    function, x = callback.nquad(model), (ctypes.c_double * 3)()
    assert [np.isnan(function.function(n, x, function.user_data)) for n in (1, 2, 3)] == [True, False, True]


@DTYPES
def test_generic_filter_gives_the_outputs_for_each_neighbourhood(dtype):
    model, image = Model((9, 8, 1), "tanh", dtype=dtype), np.random.default_rng(0).normal(size=(20, 30))
    found = ndimage.generic_filter(image, callback.generic_filter(model), size=3, mode="nearest")
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1, mode="edge"), (3, 3)).reshape(-1, 9)
    np.testing.assert_array_equal(found.ravel(), model.predict(windows).ravel())
    with pytest.raises(RuntimeError):
        ndimage.generic_filter(image, callback.generic_filter(model), size=5)


@DTYPES
def test_a_plain_function_computes_what_the_model_does(dtype):
    model, rng = Model((4, 9, 3), "tanh", "softmax", dtype=dtype), np.random.default_rng(0)
    x, cotangent = rng.normal(size=4), rng.normal(size=3)
    X = x[None].astype(dtype)
    expected = {
        "predict": (x, model.predict(X)),
        "input_jacobian": (x, model.input_jacobian(X)),
        "vjp": ([*x, *cotangent], model.input_gradient(X, cotangent[None])),
    }
    for what, (given, right) in expected.items():
        function = callback.function(model, what)
        assert function.address == ctypes.cast(function.ctypes, ctypes.c_void_p).value
        status, y = call(function, given)
        assert status == 0
        np.testing.assert_array_equal(y, right.ravel())


def test_numbers_that_are_not_finite_give_nan_and_a_status():
    model = Model((2, 5, 3), "relu")
    for what, given in (("predict", 2), ("input_jacobian", 2), ("vjp", 5)):
        for wrong in (np.nan, np.inf, 1e300):
            status, y = call(callback.function(model, what), [*np.zeros(given - 1), wrong])
            assert status == 1
            assert np.isnan(y).all()
    model.parameters[:] = 1e30
    status, y = call(callback.function(model), [1e30, 1e30])
    assert status == 1
    assert np.isnan(y).all()


def test_live_parameters_follow_fit_and_a_snapshot_does_not():
    model, rng = Model((2, 5, 1), "tanh", dtype="float64"), np.random.default_rng(0)
    X, y = rng.normal(size=(50, 2)), rng.normal(size=(50, 1))
    live, snapshot, before = callback.function(model), callback.function(model, live=False), model.predict(X[:1])[0]
    model.fit(X, y, epochs=3)
    after = model.predict(X[:1])[0]
    assert before != after
    assert call(live, X[0])[1] == after
    assert call(snapshot, X[0])[1] == before


def test_the_object_keeps_its_memory_when_the_model_is_gone():
    model = Model((1, 12, 1), "tanh", dtype="float64")
    expected = integrate.quad(callback.quad(model), 0, 1)[0]
    function = callback.quad(model)
    del model
    gc.collect()
    for seed in range(5):
        Model((1, 12, 1), seed=seed, dtype="float64").predict([[0.5]])
    assert integrate.quad(function, 0, 1)[0] == expected


@pytest.mark.parametrize("threads", [4, 3 * ROOMS])
@pytest.mark.parametrize("what", WHAT)
def test_many_threads_call_one_function(what, threads):
    """Also more than there are rooms for."""
    model = Model((3, 40, 3), "tanh", dtype="float64")
    function, points = callback.function(model, what), np.random.default_rng(0).normal(size=(200, 6))
    points = points[:, : function.n_given]
    expected = [call(function, x)[1] for x in points]

    def work(_):
        return [call(function, x) for x in points]

    with ThreadPoolExecutor(threads) as pool:
        for results in pool.map(work, range(threads), timeout=100):
            for (status, y), right in zip(results, expected, strict=True):
                assert status == 0
                np.testing.assert_array_equal(y, right)


@DTYPES
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("sizes", [(3, 2), (1, 17, 1), (5, 33, 3)])
def test_nothing_is_touched_outside_the_numbers_and_the_room(sizes, what, side, dtype, monkeypatch):
    guard, made = Guard(side), []
    monkeypatch.setattr(callback, "aligned_zeros", lambda *of: made.append(guard.empty(*of)) or made[-1])
    function = callback.function(Model(sizes, "tanh", dtype=dtype), what)
    (pool,) = (array for array in made if array.dtype == dtype)
    x, y = guard.copy(np.ones(function.n_given), writeable=False), guard.empty(function.n_results, np.float64)
    pointers = (array.ctypes.data_as(callback.DOUBLE_POINTER) for array in (x, y))
    assert function.ctypes(*pointers, function.user_data) == 0
    guard.check()
    assert np.isfinite(y).all()
    assert np.isnan(pool.reshape(ROOMS, -1)[1:]).all()


def test_what_does_not_fit_is_refused_when_it_is_made(monkeypatch):
    model = Model((2, 5, 3))
    with pytest.raises(ValueError, match="model must have 1 input for quad, got 2"):
        callback.quad(model)
    with pytest.raises(ValueError, match="model must have 1 output for generic_filter, got 3"):
        callback.generic_filter(model)
    for output in (3, -1, 1.0, True):
        with pytest.raises(ValueError, match="output must be an integer from 0 to 2"):
            callback.nquad(model, output)
    with pytest.raises(ValueError, match="what must be"):
        callback.function(model, "jacobian")
    with pytest.raises(TypeError, match="live must be"):
        callback.function(model, live=1)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="need SciPy"):
        callback.nquad(model)
    assert call(callback.function(model), [0, 0])[0] == 0
