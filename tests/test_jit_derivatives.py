"""The derivatives of fastbp.jit: the bits of Model, nothing allocated, every wrong argument refused."""

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from guard import SIDES, Guard
from numba.core.runtime import _nrt_python, rtsys

import fastbp
from fastbp import Model, jit
from fastbp.jit_arguments import FORMS

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
ROWS = 1, 3, 7, 130
NETWORKS = {
    "shallow": {"sizes": (5, 2), "hidden": "tanh", "output": "sigmoid", "loss": "squared_error"},
    "deep": {"sizes": (4, 33, 7, 3), "hidden": ("tanh", "gelu"), "output": "softmax"},
    "without biases": {"sizes": (3, 40, 1), "hidden": "silu", "bias": False},
}
EACH_NETWORK = pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)


@numba.njit(nogil=True)
def vjp(net, theta, X, cotangent, dX, dtheta, workspace):
    jit.vjp(net, theta, X, cotangent, dX, dtheta, workspace)


@numba.njit(nogil=True)
def jvp(net, theta, X, dX, dtheta, y, dy, workspace):
    jit.jvp(net, theta, X, dX, dtheta, y, dy, workspace)


@numba.njit(nogil=True)
def input_jacobian(net, theta, X, out, workspace):
    jit.input_jacobian(net, theta, X, out, workspace)


@numba.njit(nogil=True)
def input_hessian(net, theta, X, out, workspace):
    jit.input_hessian(net, theta, X, out, workspace)


CALLS = {"vjp": vjp, "jvp": jvp, "input_jacobian": input_jacobian, "input_hessian": input_hessian}


def arrays(model, rows, seed=0):
    """Arguments by name: numbers for those that are read, NaN for those that are overwritten."""
    rng, n_in, n_out = np.random.default_rng(seed), model.network.n_inputs, model.network.n_outputs
    shapes = {"X": (rows, n_in), "cotangent": (rows, n_out), "dX": (rows, n_in), "dtheta": model.parameters.shape}
    read = {name: rng.normal(size=shape).astype(model.dtype) for name, shape in shapes.items()}
    return read | {name: np.full((rows, n_out), np.nan, model.dtype) for name in ("y", "dy")}


def arguments_of(what, model, rows):
    """net, theta, …, workspace of a right call, by name."""
    a = arrays(model, rows)
    n_in, n_out = model.network.n_inputs, model.network.n_outputs
    a["out"] = np.full((rows, n_out, n_in, n_in)[: 4 if what == "input_hessian" else 3], np.nan, model.dtype)
    names = {"vjp": ("X", "cotangent", "dX", "dtheta"), "jvp": ("X", "dX", "dtheta", "y", "dy")}.get(what, ("X", "out"))
    given = {"net": model.compiled(what), "theta": model.parameters} | {name: a[name] for name in names}
    return given | {"workspace": model.workspace(rows, what)}


# The bits of Model.


@DTYPES
@EACH_NETWORK
@pytest.mark.parametrize("rows", [*ROWS, 6000])  # with 6000, sums over shards of the examples, if there is work enough
def test_vjp_has_the_bits_of_model_vjp(options, dtype, rows):
    model = Model(dtype=dtype, **options)
    net, theta, work, a = model.compiled("vjp"), model.parameters, model.workspace(rows, "vjp"), arrays(model, rows)
    expected = model.vjp(a["X"], a["cotangent"])
    for which in ((True, True), (True, False), (False, True)):
        outputs = [np.full_like(x, np.nan) if wanted else None for x, wanted in zip(expected, which, strict=True)]
        vjp(net, theta, a["X"], a["cotangent"], *outputs, work)
        for found, right in zip(outputs, expected, strict=True):
            if found is not None:
                np.testing.assert_array_equal(found, right, strict=True)


@DTYPES
@EACH_NETWORK
@pytest.mark.parametrize("rows", ROWS)
def test_jvp_has_the_bits_of_model_jvp(options, dtype, rows):
    model = Model(dtype=dtype, **options)
    net, theta, work, a = model.compiled("jvp"), model.parameters, model.workspace(rows, "jvp"), arrays(model, rows)
    for dX, dtheta in ((a["dX"], a["dtheta"]), (a["dX"], None), (None, a["dtheta"])):
        a["y"][:] = a["dy"][:] = np.nan
        jvp(net, theta, a["X"], dX, dtheta, a["y"], a["dy"], work)
        for found, right in zip((a["y"], a["dy"]), model.jvp(a["X"], dX, dtheta), strict=True):
            np.testing.assert_array_equal(found, right, strict=True)


@DTYPES
@EACH_NETWORK
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("what", ["input_jacobian", "input_hessian"])
def test_derivatives_in_the_inputs_have_the_bits_of_model(what, options, dtype, rows):
    model = Model(dtype=dtype, **options)
    arguments = arguments_of(what, model, rows)
    CALLS[what](*arguments.values())
    expected = getattr(model, what)(arguments["X"])
    np.testing.assert_array_equal(arguments["out"], expected, strict=True)
    arguments |= {"X": arguments["X"][0], "out": np.empty_like(expected[0])}
    CALLS[what](*arguments.values())
    np.testing.assert_array_equal(arguments["out"], getattr(model, what)(arguments["X"][None])[0])


def test_one_row_may_be_a_vector():
    model = Model((4, 5, 3), "tanh", dtype="float64")
    a, net = arrays(model, 1), model.compiled("vjp", "jvp")
    dX, dtheta = np.empty(4), np.empty_like(model.parameters)
    work = model.workspace(1, "vjp", "jvp")
    vjp(net, model.parameters, a["X"][0], a["cotangent"][0], dX, dtheta, work)
    expected = model.vjp(a["X"], a["cotangent"])
    np.testing.assert_array_equal(dX, expected[0][0])
    np.testing.assert_array_equal(dtheta, expected[1])
    y, dy = np.empty(3), np.empty(3)
    jvp(net, model.parameters, a["X"][0], dX, None, y, dy, work)
    np.testing.assert_array_equal(dy, model.jvp(a["X"], dX[None])[1][0])


def test_a_table_for_derivatives_serves_predict_and_value_and_gradient_as_well():
    @numba.njit
    def both(net, theta, X, y, out, gradient, work):
        jit.predict(net, theta, X, out, work)
        return jit.value_and_gradient(net, theta, X, y, gradient, work)

    model = Model((4, 5, 3), "tanh", "softmax")
    X, y = arrays(model, 20)["X"], (np.arange(20) % 3).astype(np.float32)
    out, gradient = np.empty((20, 3), np.float32), np.empty_like(model.parameters)
    cost = both(model.compiled("vjp"), model.parameters, X, y, out, gradient, model.workspace(20, "vjp"))
    expected, expected_gradient = model.value_and_gradient(X, y)
    assert cost == expected
    np.testing.assert_array_equal(gradient, expected_gradient)
    np.testing.assert_array_equal(out, model.predict(X))


# Memory and threads.


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("rows", ROWS)
def test_nothing_is_touched_outside_the_arrays(what, side, rows):
    model, guard = Model((4, 9, 3), "tanh"), Guard(side)
    arguments = arguments_of(what, model, rows)
    read = {"theta", "X", "cotangent"} | ({"dX", "dtheta"} if what == "jvp" else set())
    guarded = {name: guard.copy(array, writeable=name not in read) for name, array in arguments.items()}
    size = jit.workspace_needed(arguments["net"], rows, what)
    guarded["workspace"] = guard.empty(size, np.float32)
    CALLS[what](*guarded.values())
    guard.check()
    CALLS[what](*arguments.values())
    for name in arguments.keys() - read - {"workspace"}:
        np.testing.assert_array_equal(guarded[name], arguments[name])


def test_nothing_is_allocated_by_a_call():
    @numba.njit
    def many(net, theta, X, cotangent, dX, dtheta, y, dy, workspace, calls):
        for _ in range(calls):
            jit.vjp(net, theta, X, cotangent, dX, dtheta, workspace)
            jit.jvp(net, theta, X, dX, None, y, dy, workspace)

    model, names = Model((4, 5, 3)), ("vjp", "jvp")
    arguments = model.compiled(*names), model.parameters, *arrays(model, 20).values(), model.workspace(20, *names)
    many(*arguments, 1)
    _nrt_python.memsys_enable_stats()
    try:
        counts = []
        for calls in (1, 1000):
            before = rtsys.get_allocation_stats()
            many(*arguments, calls)
            after = rtsys.get_allocation_stats()
            counts.append((after.alloc - before.alloc, after.mi_alloc - before.mi_alloc))
    finally:
        _nrt_python.memsys_disable_stats()
    assert counts[0] == counts[1], "what 1,000 calls allocate, one does: numba's view of the arguments"
    (code,) = many.inspect_llvm().values()
    assert "NRT_Allocate" not in code.split("define ptr @_ZN7cpython")[0]


def test_four_threads_call_at_once_with_a_workspace_each():
    model = Model((13, 32, 10), "tanh", "softmax")
    a, net = arrays(model, 64), model.compiled("vjp")
    expected = model.vjp(a["X"], a["cotangent"])

    def work(_):
        dX, dtheta, memory = np.empty_like(a["X"]), np.empty_like(model.parameters), model.workspace(64, "vjp")
        for _ in range(100):
            dX[:] = dtheta[:] = np.nan
            vjp(net, model.parameters, a["X"], a["cotangent"], dX, dtheta, memory)
            np.testing.assert_array_equal(dX, expected[0])
            np.testing.assert_array_equal(dtheta, expected[1])

    work(0)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4), timeout=100))


def test_a_prange_with_a_workspace_for_each_thread():
    @numba.njit(parallel=True)
    def gradients(net, theta, X, cotangent, dX, workspaces):
        for n in numba.prange(len(X)):
            jit.vjp(net, theta, X[n], cotangent[n], dX[n], None, workspaces[numba.get_thread_id()])

    model = Model((4, 33, 3), "tanh")
    a = arrays(model, 200)
    size = jit.workspace_needed(model.compiled("vjp"), 1, "vjp")
    workspaces = np.empty((numba.get_num_threads(), size), np.float32)
    gradients(model.compiled("vjp"), model.parameters, a["X"], a["cotangent"], a["dX"], workspaces)
    for n in range(200):
        right = model.input_gradient(a["X"][n : n + 1], a["cotangent"][n : n + 1])
        np.testing.assert_array_equal(a["dX"][n], right[0])


USER = """
    import json
    import numba, numpy as np
    import fastbp
    from fastbp import jit

    @numba.njit(cache=True)
    def gradient(net, theta, X, cotangent, dX, workspace):
        jit.vjp(net, theta, X, cotangent, dX, None, workspace)

    model = fastbp.Model((4, 5, 3), hidden="tanh")
    X, cotangent = np.arange(24, dtype=np.float32).reshape(6, 4) / 10, np.ones((6, 3), np.float32)
    dX = np.zeros_like(X)
    gradient(model.compiled("vjp"), model.parameters, X, cotangent, dX, model.workspace(6, "vjp"))
    assert (dX == model.vjp(X, cotangent)[0]).all()
    print(json.dumps(sum(gradient.stats.cache_hits.values())))
"""


def test_a_users_function_comes_from_its_cache(tmp_path):
    script = tmp_path / "user.py"
    script.write_text(textwrap.dedent(USER))
    runs = [subprocess.run([sys.executable, script], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [json.loads(run.stdout) for run in runs] == [0, 1]


# Workspaces.


def test_the_workspace_needed_is_the_same_from_python_and_compiled_code():
    @numba.njit
    def needed(net, rows):
        return (
            jit.workspace_needed(net, rows, "predict"),
            jit.workspace_needed(net, rows, "value_and_gradient"),
            jit.workspace_needed(net, rows, "vjp"),
            jit.workspace_needed(net, rows, "jvp"),
        )

    model, names = Model((4, 33, 3)), ("predict", "value_and_gradient", "vjp", "jvp")
    net = model.compiled("vjp", "jvp")
    for rows in (1, 3, 1000):
        sizes = needed(net, rows)
        assert sizes == tuple(jit.workspace_needed(net, rows, name) for name in names)
        assert max(sizes) <= model.workspace(rows, "vjp", "jvp").size
    with pytest.raises(ValueError, match=r"jvp: net was made without it; call model.compiled\('jvp'\)"):
        needed(model.compiled("vjp"), 1)
    with pytest.raises(ValueError, match="what must be among 'predict'"):
        jit.workspace_needed(net, 1, "everything")


# Wrong arguments.


def short(array):
    return array[:-1].copy()


WRONG = [  # argument, its value made from the right one, and what is said of it
    ("net", lambda net: Model((4, 5, 3)).compiled(), r"net was made without it; call model.compiled\('vjp'\)"),
    ("theta", short, "theta must have"),
    ("X", lambda X: X.astype(np.float64), "X must be a C-contiguous"),
    ("X", np.asfortranarray, "X must be a C-contiguous"),
    ("X", lambda X: np.zeros((6, 5), np.float32), "X must have"),
    ("X", lambda X: X[:0], "X must have"),
    ("cotangent", short, "cotangent must have the shape"),
    ("cotangent", lambda c: c.ravel(), "cotangent must have the shape"),
    ("cotangent", lambda c: None, "cotangent must be a C-contiguous"),
    ("dX", lambda dX: np.ascontiguousarray(dX.T), "dX must have the shape"),
    ("dX", lambda dX: np.broadcast_to(dX[:1], dX.shape), "dX must be"),
    ("dtheta", short, "dtheta must have the shape"),
    ("workspace", lambda work: work[:100].copy(), "workspace"),
    ("workspace", lambda work: None, "workspace must be"),
]


@pytest.mark.parametrize(("argument", "change", "says"), WRONG)
def test_a_wrong_argument_is_named_in_compiled_code_and_by_check_arguments(argument, change, says):
    arguments = arguments_of("vjp", Model((4, 5, 3)), 6)
    jit.check_arguments("vjp", *arguments.values())
    arguments[argument] = change(arguments[argument])
    for call in (vjp, lambda *given: jit.check_arguments("vjp", *given)):
        with pytest.raises(ValueError, match=says):
            call(*arguments.values())


def test_nothing_asked_for_and_nothing_given_are_refused():
    for what in ("vjp", "jvp"):
        arguments = arguments_of(what, Model((4, 5, 3)), 6) | {"dX": None, "dtheta": None}
        for call in (CALLS[what], lambda *given, what=what: jit.check_arguments(what, *given)):
            with pytest.raises(ValueError, match="dX or dtheta must be given"):
                call(*arguments.values())


def test_other_words_of_check_arguments():
    arguments = arguments_of("vjp", Model((4, 5, 3)), 6)
    with pytest.raises(ValueError, match="takes 7 arguments, net, theta, X, cotangent, dX, dtheta, workspace, got 6"):
        jit.check_arguments("vjp", *list(arguments.values())[:-1])
    with pytest.raises(ValueError, match="what must be among 'predict'"):
        jit.check_arguments("derivative", *arguments.values())
    with pytest.raises(ValueError, match=r"y must have the shape .*; n = 6, n_targets = 3, got \(6,\)"):
        jit.check_arguments(
            "value_and_gradient", arguments["net"], arguments["theta"], arguments["X"], np.zeros(6, np.float32),
            np.empty_like(arguments["theta"]), arguments["workspace"],
        )  # fmt: skip
    jit.check_arguments(
        "predict", arguments["net"], arguments["theta"], np.zeros(4, np.float32), np.zeros(3, np.float32),
        arguments["workspace"],
    )  # fmt: skip


def test_names_that_are_none_and_calls_from_python():
    model = Model((4, 5, 3))
    for call in (lambda: model.compiled("vjp", "jacobian"), lambda: model.workspace(1, "jacobian")):
        with pytest.raises(ValueError, match=r"derivatives must be among 'vjp', 'jvp', .*got 'jacobian'"):
            call()
    for function in (jit.vjp, jit.jvp):
        with pytest.raises(TypeError, match=r"is for numba\.njit functions"):
            function(*[None] * (7 if function is jit.vjp else 8))
    cubic = Model((4, 5, 3), fastbp.Activation(lambda z: z**3, lambda z: 3 * z * z))
    for call in (lambda: cubic.compiled("input_hessian"), lambda: cubic.workspace(1, "input_hessian")):
        with pytest.raises(ValueError, match="input_hessian needs `second` of every activation"):
            call()
    classes = Model((4, 5, 3), output="softmax")
    np.testing.assert_array_equal(classes.compiled(False), classes.compiled(classes=False))


def test_every_function_is_in_the_documentation():
    page = (Path(__file__).parents[1] / "docs" / "embedding.md").read_text(encoding="utf-8")
    for name, arguments in FORMS.items():
        assert f"| `{name}(net, theta, {', '.join(a.name for a in arguments)}, workspace)` |" in page
        assert callable(getattr(jit, name))


# An optimizer's step.


@numba.njit
def train(net, theta, X, y, gradient, moments, settings, workspace):
    finite = True
    for step in range(len(settings)):
        jit.value_and_gradient(net, theta, X, y, gradient, workspace)
        finite &= jit.apply_gradient(net, theta, gradient, moments, settings[step])
    return finite


@DTYPES
@pytest.mark.parametrize(
    "optimizer",
    [
        fastbp.SGD(0.1),
        fastbp.SGD(fastbp.schedules.Cosine(0.1, 10), momentum=0.9, nesterov=True),
        fastbp.Adam(),
        fastbp.AdamW(weight_decay=0.1),
        fastbp.NAdam(),
        fastbp.RMSprop(),
        fastbp.Adagrad(),
        fastbp.Rprop(),
    ],
    ids=str,
)
def test_steps_in_compiled_code_are_those_of_apply_gradient(optimizer, dtype):
    """From the beginning, then on from the model's own steps."""
    model, rng = Model((4, 9, 3), "tanh", dtype=dtype), np.random.default_rng(0)
    X, y = rng.normal(size=(20, 4)).astype(dtype), rng.normal(size=(20, 3)).astype(dtype)
    model.optimizer = optimizer
    for _ in range(2):
        theta, gradient = model.parameters.copy(), np.empty_like(model.parameters)
        moments, settings = model.optimizer_state(5)
        work, net = model.workspace(20), model.compiled("apply_gradient")
        assert train(net, theta, X, y, gradient, moments, settings, work)
        for _ in range(5):
            model.apply_gradient(model.value_and_gradient(X, y)[1])
        np.testing.assert_array_equal(theta, model.parameters)
        np.testing.assert_array_equal(moments, model.optimizer_state()[0])


def test_a_step_to_infinity_keeps_the_values_and_says_so():
    model = Model((4, 3))
    moments, settings = model.optimizer_state()
    apply = numba.njit(lambda *arguments: jit.apply_gradient(*arguments))
    theta, gradient = model.parameters.copy(), np.full_like(model.parameters, np.nan)
    assert not apply(model.compiled("apply_gradient"), theta, gradient, moments, settings[0])
    np.testing.assert_array_equal(theta, model.parameters)
    with pytest.raises(ValueError, match=r"net was made without it; call model.compiled\('apply_gradient'\)"):
        apply(model.compiled("vjp"), theta, gradient, moments, settings[0])
    with pytest.raises(ValueError, match="moments must be those of"):
        apply(model.compiled("apply_gradient"), theta, gradient, moments[:-1].copy(), settings[0])
    with pytest.raises(ValueError, match="settings must be a row"):
        apply(model.compiled("apply_gradient"), theta, gradient, moments, settings[0, :-1].copy())
    with pytest.raises(ValueError, match="settings must be a C-contiguous row of float64"):
        apply(model.compiled("apply_gradient"), theta, gradient, moments, settings)
    model.optimizer = fastbp.Adam(clip_norm=1.0)
    with pytest.raises(ValueError, match="optimizer must have clip_norm=None"):
        model.optimizer_state()
