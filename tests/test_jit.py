"""fastbp.jit in other people's compiled code: the bits of Model, nothing allocated, every wrong argument refused."""

import inspect
import json
import os
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

import fastbp
from fastbp import Model, jit
from fastbp.core import slots
from fastbp.core.ir import process_stamp

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TIMEOUT = 100


@numba.njit(nogil=True)
def predict(net, theta, X, out, workspace):
    jit.predict(net, theta, X, out, workspace)


@numba.njit(nogil=True)
def value_and_gradient(net, theta, X, y, gradient, workspace):
    return jit.value_and_gradient(net, theta, X, y, gradient, workspace)


def data(model, rows, seed=0):
    rng = np.random.default_rng(seed)
    network = model.network
    X = rng.normal(size=(rows, network.n_inputs)).astype(model.dtype)
    if model.loss == "cross_entropy":
        return X, rng.integers(network.n_outputs, size=rows).astype(model.dtype)
    y = rng.uniform(size=(rows, network.n_outputs)).astype(model.dtype)
    return X, y


MODELS = {
    "small": {"sizes": (4, 5, 3)},
    "classes": {"sizes": (13, 32, 10), "hidden": "tanh", "output": "softmax"},
    "labels": {"sizes": (7, 40, 1), "hidden": "sigmoid", "output": "sigmoid"},
    "wide": {"sizes": (3, 100, 130, 2), "hidden": ("relu", "tanh"), "bias": False, "loss": "half_squared_error"},
    "of z": {"sizes": (6, 17, 9, 2), "hidden": ("gelu", "sin")},
    "sum": {"sizes": (5, 2), "output": "sigmoid", "loss": "squared_error", "reduction": "sum"},
}
EACH_MODEL = pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)


# The bits of Model.


@DTYPES
@EACH_MODEL
def test_predictions_have_the_bits_of_model_predict(options, dtype):
    """One row as a vector or a matrix, many, more than pass through the layers at once; X may be read-only."""
    model = Model(dtype=dtype, **options)
    net, theta, work = model.compiled(), model.parameters, model.workspace()
    X, _ = data(model, 1000)
    X.flags.writeable = False
    expected = model.predict(X)
    assert np.any(expected)
    for rows in (1, 2, 31, 1000):
        out = np.full((rows, model.network.n_outputs), np.nan, dtype)
        predict(net, theta, X[:rows], out, work)
        np.testing.assert_array_equal(out, expected[:rows], strict=True)
    out = np.full(model.network.n_outputs, np.nan, dtype)
    for n in range(5):
        predict(net, theta, X[n], out, work)
        np.testing.assert_array_equal(out, expected[n], strict=True)


@DTYPES
@EACH_MODEL
def test_values_and_gradients_have_the_bits_of_model_value_and_gradient(options, dtype):
    model = Model(dtype=dtype, **options)
    net, theta = model.compiled(), model.parameters
    gradient = np.empty_like(theta)
    X, y = data(model, 6000)
    for array in (X, y):
        array.flags.writeable = False
    for rows in (1, 2, 31, 6000):  # with 6000, sums over shards of the examples, if there is work enough
        gradient[:] = np.nan
        value = value_and_gradient(net, theta, X[:rows], y[:rows], gradient, model.workspace(rows))
        expected, expected_gradient = model.value_and_gradient(X[:rows], y[:rows])
        assert value == expected
        assert np.any(gradient)
        np.testing.assert_array_equal(gradient, expected_gradient, strict=True)
    expected, expected_gradient = model.value_and_gradient(X[:1], y[:1])
    target = y[:1] if y.ndim == 1 else y[0]
    assert value_and_gradient(net, theta, X[0], target, gradient, model.workspace()) == expected
    np.testing.assert_array_equal(gradient, expected_gradient)


def test_rows_of_probabilities_instead_of_classes():
    model = Model((4, 5, 3), output="softmax")
    net, gradient = model.compiled(classes=False), np.empty_like(model.parameters)
    X, _ = data(model, 2000)
    y = np.random.default_rng(1).dirichlet(np.ones(3), size=2000).astype(np.float32)
    value = value_and_gradient(net, model.parameters, X, y, gradient, model.workspace(2000))
    expected, expected_gradient = model.value_and_gradient(X, y)
    assert value == expected
    np.testing.assert_array_equal(gradient, expected_gradient)


# Each option of Model: what fastbp.jit computes with it is what Model computes.

OPTIONS = {  # option: its values, beside which the others are Model's defaults
    "sizes": [(4, 3), (4, 6, 3), (4, 70, 9, 3)],
    "hidden": ["tanh", ("gelu",)],
    "output": ["sigmoid", "softmax"],
    "loss": ["huber", "squared_error"],
    "bias": [False],
    "dtype": ["float32", "float64"],
    "seed": [3],
    "initial": ["he_normal"],
    "reduction": ["sum"],
    "l1": [0.01],
    "l2": [0.1],
    "dropout": [0.5],
    "label_smoothing": [0.2],
    "standardize": [fastbp.Scaling([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 0.5, 3.0])],
}


def test_every_option_of_model_is_compared():
    assert OPTIONS.keys() == inspect.signature(Model).parameters.keys()


@pytest.mark.parametrize("target", ["numbers", "classes", "probabilities", "several labels"])
@pytest.mark.parametrize("option", OPTIONS)
def test_with_each_option_it_computes_what_model_computes(option, target):
    """label_smoothing and l2 take part throughout where the loss has them: an option may depend on another."""
    kinds = {"numbers": {}, "several labels": {"output": "sigmoid", "loss": "binary_cross_entropy"}}
    for value in OPTIONS[option]:
        options = {"sizes": (4, 6, 3), "l2": 0.01, **kinds.get(target, {"output": "softmax"})}
        if target != "numbers":
            options["label_smoothing"] = 0.1
            if option in ("output", "loss"):
                continue  # it is the target's
        options[option] = value
        if option == "label_smoothing" and target == "numbers":
            options |= {"output": "softmax"}
        model = Model(**options)
        X, y = np.random.default_rng(2).normal(size=(40, 4)).astype(model.dtype), None
        y = {
            "classes": np.arange(40) % 3,
            "several labels": np.random.default_rng(3).integers(2, size=(40, 3)),
        }.get(target, np.random.default_rng(3).dirichlet(np.ones(3), size=40)).astype(model.dtype)
        net, theta, gradient = model.compiled(classes=y.ndim == 1), model.parameters, np.empty_like(model.parameters)
        for rows in (1, 3, 40):
            cost = value_and_gradient(net, theta, X[:rows], y[:rows], gradient, model.workspace(rows))
            expected, expected_gradient = model.value_and_gradient(X[:rows], y[:rows])
            assert cost == expected
            np.testing.assert_array_equal(gradient, expected_gradient, strict=True)
        out = np.empty((40, 3), model.dtype)
        predict(net, theta, X, out, model.workspace())
        np.testing.assert_array_equal(out, model.predict(X), strict=True)


NOT_CLASSES = [-1.0, -1e-3, 0.5, 1e5, 1e9, -1e9, 1e30, np.nan, np.inf, -np.inf]


@DTYPES
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 100])
def test_a_number_that_is_no_class_index_makes_cost_and_gradient_nan(width, output, smoothing, dtype):
    """In every kernel that takes class indices; what lies behind the workspace is not touched."""
    model = Model((4, width), output=output, loss="cross_entropy", label_smoothing=smoothing, dtype=dtype)
    net, theta, rows = model.compiled(), model.parameters, 5
    X, gradient, enough = np.ones((rows, 4), dtype), np.empty_like(theta), model.workspace(rows).size
    for wrong in [*NOT_CLASSES, float(width)]:
        y = np.zeros(rows, dtype)
        y[2] = wrong
        memory = np.full(enough + 10_000, 7, dtype)
        cost = value_and_gradient(net, theta, X, y, gradient, memory[:enough])
        assert np.isnan(cost), wrong
        assert np.isnan(gradient).all(), wrong
        assert (memory[enough:] == 7).all()
    y[2] = width - 1
    assert np.isfinite(value_and_gradient(net, theta, X, y, gradient, memory[:enough]))
    assert np.isfinite(gradient).all()


# Tables of other processes.

EMULATOR = """
    import multiprocessing, sys, warnings
    import numba, numpy as np
    import fastbp, fastbp.jit

    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside other threads, such as a BLAS's

    @numba.njit(cache=True)
    def run(net, theta, x, out, work):
        fastbp.jit.predict(net, theta, x, out, work)
        return out[0]

    class Naive:
        def __init__(self, model):
            self.model, self.net, self.work, self.out = model, model.compiled(), model.workspace(), np.empty(1)

        def __call__(self, x):
            return run(self.net, self.model.parameters, x, self.out, self.work)

    class Emulator(Naive):
        def __getstate__(self):
            return self.model

        def __setstate__(self, model):
            self.__init__(model)

    def results(kind, how):
        f = kind(fastbp.Model((2, 8, 1), hidden="tanh", dtype="float64"))
        points = np.random.default_rng(0).normal(size=(6, 2))
        expected = [f(p) for p in points]
        if how == "joblib":
            from joblib import Parallel, delayed

            found = Parallel(n_jobs=2)(delayed(f)(p) for p in points)
        else:
            with multiprocessing.get_context(how).Pool(2) as pool:
                found = pool.map_async(f, points).get(60)
        return found == expected

    if __name__ == "__main__":
        for kind in (Emulator, Naive):
            try:
                print(results(kind, sys.argv[1]))
            except ValueError as error:
                print("ValueError", "another process" in str(error), "model.compiled()" in str(error))
"""


@pytest.mark.parametrize("how", ["fork", "forkserver", "spawn", "joblib"])
def test_an_emulator_travels_to_workers_if_it_makes_its_table_there_else_an_error_says_so(tmp_path, how):
    if how == "joblib":
        pytest.importorskip("joblib")
    script = tmp_path / "emulator.py"
    script.write_text(textwrap.dedent(EMULATOR))
    done = subprocess.run(
        [sys.executable, str(script), how], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    naive = "True" if how == "fork" else "ValueError True True"
    assert done.stdout.split("\n")[:2] == ["True", naive]


FROZEN_TABLE = """
    import numba, numpy as np
    import fastbp, fastbp.jit

    model = fastbp.Model((2, 8, 1), hidden="tanh", dtype="float64", seed=1)
    net, theta, size = model.compiled(), model.parameters.copy(), model.workspace().size

    @numba.njit(cache=True)
    def f(x, out):
        fastbp.jit.predict(net, theta, x, out, np.empty(size))

    x, out = np.array([0.3, 0.5]), np.empty(1)
    try:
        f(x, out)
        print(out[0] == model.predict(x[None])[0, 0])
    except ValueError as error:
        print("another process" in str(error), sum(f.stats.cache_hits.values()))
"""


def test_a_table_frozen_in_a_cached_function_is_known_as_foreign_in_the_next_process(tmp_path):
    script = tmp_path / "frozen.py"
    script.write_text(textwrap.dedent(FROZEN_TABLE))
    runs = [
        subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=TIMEOUT, check=True)
        for _ in range(2)
    ]
    assert [run.stdout for run in runs] == ["True\n", "True 1\n"]


def test_all_copies_of_the_library_in_a_process_agree_on_its_stamp():
    stamp = process_stamp.process_stamp()
    assert stamp not in (0, 1)
    process_stamp.process_stamp.cache_clear()
    assert process_stamp.process_stamp() == stamp


# theta.


def test_parameters_are_live_and_a_copy_is_a_snapshot():
    model = Model((4, 5, 3))
    net, work = model.compiled(), model.workspace()
    live, snapshot = model.parameters, model.parameters.copy()
    X, y = data(model, 20)
    before = model.predict(X)
    model.fit(X, y, epochs=3)
    after = model.predict(X)
    assert np.all(before != after)
    out = np.empty_like(before)
    predict(net, live, X, out, work)
    np.testing.assert_array_equal(out, after)
    snapshot.flags.writeable = False
    predict(net, snapshot, X, out, work)
    np.testing.assert_array_equal(out, before)
    model.parameters = snapshot
    predict(net, live, X, out, work)
    np.testing.assert_array_equal(out, before)


def test_the_arrays_outlive_the_model():
    model = Model((4, 5, 3))
    X, _ = data(model, 20)
    expected, out = model.predict(X), np.empty((20, 3), np.float32)
    net, theta, work = model.compiled(), model.parameters, model.workspace()
    del model
    for seed in range(5):
        Model((4, 5, 3), seed=seed).predict(X)
    predict(net, theta, X, out, work)
    np.testing.assert_array_equal(out, expected)


def test_gradient_descent_in_compiled_code():
    @numba.njit
    def descend(net, theta, X, y, gradient, workspace, steps, rate):
        costs = np.empty(steps)
        for step in range(steps):
            costs[step] = jit.value_and_gradient(net, theta, X, y, gradient, workspace)
            theta -= rate * gradient
        return costs

    model = Model((4, 5, 3), hidden="tanh", dtype="float64")
    X, y = data(model, 20)
    theta = model.parameters.copy()
    costs = descend(model.compiled(), theta, X, y, np.empty_like(theta), model.workspace(20), 200, 0.05)
    assert np.all(np.diff(costs) < 0)
    model.fit(X, y, epochs=200, batch_size=20, optimizer=fastbp.SGD(0.05), shuffle=False)
    np.testing.assert_allclose(theta, model.parameters, rtol=1e-12, atol=1e-15)


# No allocation, any thread.


def test_nothing_is_allocated_by_a_call():
    @numba.njit
    def many(net, theta, X, y, out, gradient, workspace, calls):
        total = 0.0
        for _ in range(calls):
            jit.predict(net, theta, X, out, workspace)
            total += jit.value_and_gradient(net, theta, X, y, gradient, workspace)
        return total

    model = Model((4, 5, 3))
    X, y = data(model, 20)
    arguments = (model.compiled(), model.parameters, X, y, np.empty((20, 3), np.float32))
    arguments = (*arguments, np.empty_like(model.parameters), model.workspace(20))
    many(*arguments, 1)
    _nrt_python.memsys_enable_stats()
    try:
        counts = []
        for calls in (1, 1000):
            before = rtsys.get_allocation_stats()
            assert many(*arguments, calls) > 0
            after = rtsys.get_allocation_stats()
            counts.append((after.alloc - before.alloc, after.mi_alloc - before.mi_alloc))
    finally:
        _nrt_python.memsys_disable_stats()
    assert counts[0] == counts[1], "what 1,000 calls allocate, one does: numba's view of the arguments"
    (code,) = many.inspect_llvm().values()
    assert "NRT_Allocate" not in code.split("define ptr @_ZN7cpython")[0]


@DTYPES
def test_four_threads_call_at_once_with_a_workspace_each(dtype):
    model = Model((13, 32, 10), output="softmax", dtype=dtype)
    net, theta = model.compiled(), model.parameters
    X, y = data(model, 64)
    expected = model.predict(X)
    expected_value, expected_gradient = model.value_and_gradient(X, y)

    def work(thread):
        out, gradient, work = np.empty_like(expected), np.empty_like(theta), model.workspace(64)
        for _ in range(100):
            out[:] = gradient[:] = np.nan
            predict(net, theta, X, out, work)
            value = value_and_gradient(net, theta, X, y, gradient, work)
            np.testing.assert_array_equal(out, expected)
            np.testing.assert_array_equal(gradient, expected_gradient)
            assert value == expected_value
        return thread

    work(0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4), timeout=TIMEOUT)) == [0, 1, 2, 3]


USER = """
    import numba
    from fastbp import jit

    @numba.njit(cache=True)
    def predict(net, theta, X, out, workspace):
        jit.predict(net, theta, X, out, workspace)

    @numba.njit(cache=True, nogil=True)
    def step(net, theta, X, y, gradient, workspace, rate):
        cost = jit.value_and_gradient(net, theta, X, y, gradient, workspace)
        for i in range(theta.size):
            theta[i] -= rate * gradient[i]
        return cost
"""
MAIN = """
    import json
    import numpy as np
    from fastbp import Model
    from user import predict, step

    model = Model((4, 5, 3), hidden="tanh")
    X, y = np.arange(24, dtype=np.float32).reshape(6, 4) / 10, np.ones((6, 3), np.float32)
    net, theta, work = model.compiled(), model.parameters, model.workspace(6)
    out, gradient = np.zeros((6, 3), np.float32), np.zeros_like(theta)
    cost, expected = step(net, theta, X, y, gradient, work, 0.01), None
    predict(net, theta, X, out, work)
    assert (out == model.predict(X)).all()
    stats = [(sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values())) for f in (predict, step)]
    print(json.dumps({"cost": cost, "out": out.tolist(), "stats": stats}))
"""


def test_a_users_function_is_compiled_once_and_then_comes_from_its_cache(tmp_path):
    (tmp_path / "user.py").write_text(textwrap.dedent(USER))
    (tmp_path / "main.py").write_text(textwrap.dedent(MAIN))
    path = [str(Path(fastbp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    reports = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", tmp_path / "main.py"],
            env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        reports.append(json.loads(done.stdout))
    first, second = reports
    assert first["stats"] == [[0, 1], [0, 1]]
    assert second["stats"] == [[1, 0], [1, 0]]
    assert (second["cost"], second["out"]) == (first["cost"], first["out"])


# Wrong arguments. In a separate process, where a call that is not refused may crash.

ROWS = 6


def right():
    """Arguments of both functions for 6 rows of a 4-5-3 network."""
    model = Model((4, 5, 3))
    X, y = data(model, ROWS)
    return {
        "net": model.compiled(),
        "theta": model.parameters,
        "X": X,
        "y": y,
        "out": np.zeros((ROWS, 3), np.float32),
        "gradient": np.zeros_like(model.parameters),
        "workspace": model.workspace(ROWS),
    }


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def changed(array, slot, value):
    array = array.copy()
    array[slot] = value
    return array


WRONG = {  # name: (argument, its value made from the right one, the error, what it says)
    "net of another integer type": ("net", lambda net: net.astype(np.int32), ValueError, "net must be"),
    "net of floats": ("net", lambda net: net.astype(np.float64), ValueError, "net must be"),
    "net with strides": ("net", lambda net: np.repeat(net, 2)[::2], ValueError, "net must be"),
    "net as a matrix": ("net", lambda net: net[None], ValueError, "net must be"),
    "net that is short": ("net", lambda net: net[:5].copy(), ValueError, "net must come from model.compiled"),
    "net without its layers": ("net", lambda net: net[:40].copy(), ValueError, "net must come from model.compiled"),
    "net of zeros": ("net", np.zeros_like, ValueError, "net must come from model.compiled"),
    "net of another version": ("net", lambda net: changed(net, 0, 999), ValueError, "net must come from"),
    "net of another process": ("net", lambda net: changed(net, slots.Net.process, 1), ValueError, "another process"),
    "net without a process": ("net", lambda net: changed(net, slots.Net.process, 0), ValueError, "another process"),
    "theta of another length": ("theta", lambda theta: theta[:-1].copy(), ValueError, "theta"),
    "theta of another dtype": ("theta", lambda theta: theta.astype(np.float64), ValueError, "X must be"),
    "theta of integers": ("theta", lambda theta: theta.astype(np.int64), ValueError, "theta must be"),
    "X of another dtype": ("X", lambda X: X.astype(np.float64), ValueError, "X must be a C-contiguous array"),
    "X of integers": ("X", lambda X: X.astype(np.int64), ValueError, "X must be"),
    "X in Fortran order": ("X", np.asfortranarray, ValueError, "X must be"),
    "X with strides": ("X", lambda _: zeros(ROWS, 8)[:, ::2], ValueError, "X must be"),
    "X with other columns": ("X", lambda _: zeros(ROWS, 5), ValueError, "X must have as many columns"),
    "X transposed": ("X", lambda _: zeros(4, ROWS), ValueError, "X must have as many columns"),
    "X flat": ("X", lambda X: X.ravel(), ValueError, "X must have as many columns"),
    "X without dimensions": ("X", lambda _: np.array(1, np.float32), ValueError, "X must have 1 or 2 dimensions"),
    "X with three dimensions": ("X", lambda X: X[None], ValueError, "X must have 1 or 2 dimensions"),
    "theta as a matrix": ("theta", lambda theta: theta[None], ValueError, "theta must have 1 dimensions"),
    "workspace as a matrix": ("workspace", lambda work: work[None], ValueError, "workspace must have 1 dimensions"),
    "out without dimensions": ("out", lambda _: np.array(1, np.float32), ValueError, "out must have 1 or 2 dimensions"),
    "X as a number": ("X", lambda _: 1.0, ValueError, "X must be"),
    "out of other rows": ("out", lambda _: zeros(ROWS - 1, 3), ValueError, "out must have"),
    "out transposed": ("out", lambda _: zeros(3, ROWS), ValueError, "out must have"),
    "out flat": ("out", lambda _: zeros(3 * ROWS), ValueError, "out must have"),
    "out of another dtype": ("out", lambda _: zeros(ROWS, 3, dtype=np.float64), ValueError, "out must be"),
    "out in Fortran order": ("out", np.asfortranarray, ValueError, "out must be"),
    "out read-only": ("out", read_only, ValueError, "out must be"),
    "y of other rows": ("y", lambda _: zeros(ROWS - 1, 3), ValueError, "y must have"),
    "y transposed": ("y", lambda _: zeros(3, ROWS), ValueError, "y must have"),
    "y of classes": ("y", lambda _: zeros(ROWS), ValueError, "y must have"),
    "y of integers": ("y", lambda _: zeros(ROWS, dtype=np.int64), ValueError, "y must be"),
    "gradient of another length": ("gradient", lambda _: zeros(10), ValueError, "gradient must have"),
    "gradient of another dtype": ("gradient", lambda g: g.astype(np.float64), ValueError, "gradient must be"),
    "gradient read-only": ("gradient", read_only, ValueError, "gradient must be"),
    "workspace that is small": ("workspace", lambda _: zeros(10), ValueError, "workspace is too small"),
    "workspace of another dtype": ("workspace", lambda w: w.astype(np.float64), ValueError, "workspace must be"),
    "workspace read-only": ("workspace", read_only, ValueError, "workspace must be"),
}


def arguments_of(function):
    code = function.py_func.__code__
    return code.co_varnames[: code.co_argcount]


def outcome(name, function):
    """What a call with one wrong argument raises, and whether it changed any array."""
    argument, make, _, _ = WRONG[name]
    arguments = right()
    arguments[argument] = make(arguments[argument])
    before = {key: np.array(arguments[key]) for key in ("theta", "X", "y", "out", "gradient")}
    try:
        function(*(arguments[key] for key in arguments_of(function)))
        error = None
    except ValueError as raised:
        error = raised
    same = all(np.array_equal(before[key], arguments[key]) for key in before)
    return type(error).__name__, str(error), same


def forked(call):
    """The result of call() in a forked child; None if it crashes."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside other threads, such as a BLAS's
        child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as file:
            json.dump(call(), file)
            file.flush()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    return json.loads(text) if os.waitpid(child, 0)[1] == 0 else None


@pytest.mark.parametrize(
    ("function", "name"),
    [
        pytest.param(function, name, id=f"{function.py_func.__name__}, {name}")
        for function in (predict, value_and_gradient)
        for name, (argument, *_) in WRONG.items()
        if argument in arguments_of(function)
    ],
)
def test_a_wrong_argument_is_refused_by_name_and_nothing_is_written(function, name):
    found = forked(lambda: outcome(name, function))
    assert found is not None, "crashes"
    kind, message, same = found
    _, _, error, text = WRONG[name]
    assert kind == error.__name__
    assert message.startswith("fastbp.jit")
    assert text in message
    assert len(message.splitlines()) == 1, "one sentence, without numba's candidates"
    assert same


def test_targets_have_a_row_for_each_row_of_inputs():
    model = Model((2, 1))
    arguments = model.compiled(), model.parameters, zeros(3, 2)
    for y, right in ((zeros(3), True), (zeros(3, 1), True), (zeros(1, 3), False), (zeros(2, 1), False)):
        call = [*arguments, y, np.zeros_like(model.parameters), model.workspace(3)]
        if right:
            assert value_and_gradient(*call) == 0
        else:
            with pytest.raises(ValueError, match="y must have a row of targets for each row of X"):
                value_and_gradient(*call)


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "kullback_leibler", "hinge", "gaussian_nll"])
def test_only_cross_entropy_takes_class_indices(loss):
    model = Model((3, 4), loss=loss)
    with pytest.raises(ValueError, match=f"classes must be False or None for the loss '{loss}', got True"):
        model.compiled(classes=True)
    assert model.compiled(classes=False).tobytes() == model.compiled().tobytes()
    for wrong in ("yes", 1, [], 0.0):
        with pytest.raises(TypeError, match="classes must be True or False"):
            Model((3, 2), loss="cross_entropy").compiled(classes=wrong)


def test_more_rows_than_a_size_can_count_are_refused():
    for rows in (1 << 41, 1 << 62, sys.maxsize):
        with pytest.raises(ValueError, match="rows must be at most"):
            Model((3, 2)).workspace(rows)


def test_the_right_arguments_are_taken_after_wrong_ones_too():
    """Those from which the wrong ones are made."""
    arguments = right()
    wrong = arguments | {"X": arguments["X"].astype(np.float64)}
    for _ in range(3):
        with pytest.raises(ValueError, match=r"^fastbp\.jit: X must be a C-contiguous array of theta's float32, got "):
            predict(*(wrong[name] for name in arguments_of(predict)))
    common = [arguments[name] for name in ("net", "theta", "X")]
    predict(*common, arguments["out"], arguments["workspace"])
    assert np.any(arguments["out"])
    assert value_and_gradient(*common, *(arguments[name] for name in ("y", "gradient", "workspace"))) > 0


def test_a_model_of_another_dtype_is_refused():
    single, double = (Model((4, 5, 3), dtype=dtype) for dtype in ("float32", "float64"))
    X, out = zeros(2, 4), zeros(2, 3)
    with pytest.raises(ValueError, match="theta must have the model's dtype"):
        predict(double.compiled(), single.parameters, X, out, single.workspace())


def test_a_workspace_for_fewer_rows_is_too_small():
    model = Model((4, 5, 3))
    X, y = data(model, 5000)
    gradient = np.zeros_like(model.parameters)
    with pytest.raises(ValueError, match=r"workspace is too small; use model\.workspace"):
        value_and_gradient(model.compiled(), model.parameters, X, y, gradient, model.workspace(10))
    assert not np.any(gradient)


def test_without_rows_nothing_is_predicted_and_there_is_no_gradient():
    model = Model((4, 5, 3))
    net, theta, work = model.compiled(), model.parameters, model.workspace()
    predict(net, theta, zeros(0, 4), zeros(0, 3), work)
    with pytest.raises(ValueError, match=r"fastbp\.jit\.value_and_gradient"):
        value_and_gradient(net, theta, zeros(0, 4), zeros(0, 3), np.zeros_like(theta), work)


def test_in_python_they_say_what_to_call_instead():
    with pytest.raises(TypeError, match=r"Model\.predict"):
        jit.predict(None, None, None, None, None)
    with pytest.raises(TypeError, match=r"Model\.value_and_gradient"):
        jit.value_and_gradient(None, None, None, None, None, None)
