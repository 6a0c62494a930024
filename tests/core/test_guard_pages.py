"""Kernels and entry points on memory that ends, or begins, at inaccessible pages, for every width of tail."""

import copy
import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import guard
import numpy as np
import pytest
from guard import PAGE, SIDES, Guard, Side, guarded
from numba import njit

from fastbp import SGD, Adam, AdamW, Model, jit
from fastbp.core.formulas import losses, optimizers
from fastbp.core.ir.kernel import Kernel, lanes_of, registers
from fastbp.core.layers import activation_kernels
from fastbp.core.layers.loss import loss_kernel
from fastbp.core.matmul import few_columns, few_rows, gemm
from fastbp.core.matmul.transpose import transpose
from fastbp.core.step.update import update
from fastbp.core.workspace import embedded_size, shards_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no mprotect")


# The guard itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape", [1, 7, (3, 5), (1024, 4), (0,), ()])
def test_a_guarded_array_is_an_array(shape: int | tuple[int, ...], dtype: str, side: Side) -> None:
    with guarded(side) as guard:
        a = guard.empty(shape, dtype)
        edge = a.ctypes.data + (a.nbytes if side == "end" else 0)
        assert edge % PAGE == 0
        assert a.shape == np.empty(shape).shape
        assert a.dtype == dtype
        assert a.flags.c_contiguous
        a[...] = 3
        b = guard.copy(a, writeable=False)
        assert (b == 3).all()
        assert not b.flags.writeable
    assert (a == 3).all()  # stays usable as long as someone holds it


CHILD = """
import ctypes, sys
sys.path.insert(0, {folder!r})
import guard
from guard import Guard
a = Guard({side!r}).empty(70, "float32")
at = a.ctypes.data + 4 * {index}
print("before", flush=True)
(ctypes.c_float.from_address(at)).value {action}
print("after", flush=True)
"""


@pytest.mark.parametrize("action", ["", "= 1"], ids=["read", "write"])
@pytest.mark.parametrize("side", SIDES)
def test_a_child_that_goes_one_element_too_far_dies(side: Side, action: str) -> None:
    code = CHILD.format(
        folder=str(Path(guard.__file__).parent), side=side, index=70 if side == "end" else -1, action=action
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (child.returncode, child.stdout) == (-signal.SIGSEGV, "before\n"), child.stderr


@pytest.mark.parametrize("side", SIDES)
def test_writing_into_the_slack_on_the_other_side_is_noticed(side: Side) -> None:
    guard = Guard(side)
    guard.empty(5, "float32")
    assert guard.intact()
    inside, used = guard.made[0]
    inside[used.start - 1 if side == "end" else used.stop] = 0
    assert not guard.intact()


# The kernels ------------------------------------------------------------------------------------------------

WIDTHS = (*range(1, 71), 100, 130)
DTYPES = {4: "float32", 8: "float64"}
EPSILON = {4: 2e-5, 8: 1e-13}
on_each_side = pytest.mark.parametrize("side", SIDES)
in_each_size = pytest.mark.parametrize("size", DTYPES)


def run(kernel: Any, *arguments: Any) -> Any:
    """Call a kernel with arrays as pointers."""
    function = kernel.ctypes
    assert len(arguments) == len(function.argtypes)
    return function(
        *(
            a.ctypes.data_as(kind) if isinstance(a, np.ndarray) else a
            for a, kind in zip(arguments, function.argtypes, strict=True)
        )
    )


def close(a: Any, b: Any, size: int) -> None:
    np.testing.assert_allclose(a, b, rtol=EPSILON[size], atol=EPSILON[size])


def stride_of(width: int, size: int) -> int:
    """Elements between rows of activations: whole cache lines."""
    line = 64 // size
    return -(-width // line) * line


def assert_panel_is_its_sum(kernel: Kernel, M: int, N: int, size: int, side: Side, *, biased: bool = False) -> None:
    """With rows of C and V that follow one another, or have gaps, and S by rows and by columns."""
    rng, rows = np.random.default_rng(M), M + biased
    for R, gap, by_column in ((1, 0, False), (3, 5, True), (2, 0, True), (9, 3, False)):
        with guarded(side) as guard:
            C_all = guard.empty((rows - 1) * (N + gap) + N, DTYPES[size])
            init = guard.copy(rng.normal(size=N if gap else rows * N), DTYPES[size], writeable=False)
            S_all = rng.normal(size=(max(M, 1), R)).astype(DTYPES[size])
            S = guard.copy(S_all.T if by_column else S_all, writeable=False)
            V = guard.copy(rng.normal(size=(R - 1) * (N + gap) + N), DTYPES[size], writeable=False)
            steps = (1, max(M, 1)) if by_column else (R, 1)
            run(kernel, C_all, N + gap, 0, init, 0 if gap else N, S, *steps, V, N + gap, M, N, R)
        padded = np.full((2, max(rows, R), N + gap), np.nan)
        padded[0].reshape(-1)[: C_all.size] = C_all
        padded[1].reshape(-1)[: V.size] = V
        assert np.isnan(padded[0, :, N:]).all(), "wrote between the rows"
        factors = np.vstack([S_all[:M], np.ones((1, R))]) if biased else S_all
        close(padded[0, :rows, :N], init.reshape(-1, N) + factors.astype("f8") @ padded[1, :R, :N], size)


def heights_of(columns: int) -> set[int]:
    """Numbers of rows that need each tile alone, behind others, and with a row that is made more than once."""
    tall, *lower = gemm.TILES[registers()[1]][columns]
    return {0, 1, 2, tall - 1, tall, 2 * tall + 1} | {more + tile + 1 for more in (-1, 0, tall) for tile in lower}


def widths_of(columns: int, full: bool, size: int) -> Iterable[int]:
    """Lanes of a panel's rows."""
    most = columns * lanes_of(size)
    return [most] if full else range(most - lanes_of(size) + 1, most + 1)


@on_each_side
@in_each_size
@pytest.mark.parametrize("columns", gemm.TILES[registers()[1]])
@pytest.mark.parametrize("full", [False, True])
def test_panels_of_the_three_sums(columns: int, full: bool, size: int, side: Side) -> None:
    for N in widths_of(columns, full, size):
        for M in heights_of(columns) - {0}:
            assert_panel_is_its_sum(gemm.panel(size, columns, full), M, N, size, side)


@on_each_side
@in_each_size
@pytest.mark.parametrize("columns", gemm.TILES[registers()[1]])
@pytest.mark.parametrize("full", [False, True])
def test_panels_with_the_biases_row_behind_all_weights_or_none(columns: int, full: bool, size: int, side: Side) -> None:
    kernel = gemm.biased_panel(size, columns, full)
    for N in widths_of(columns, full, size):
        for M in heights_of(columns):
            assert_panel_is_its_sum(kernel, M, N, size, side, biased=True)


@on_each_side
@in_each_size
@pytest.mark.parametrize("columns", gemm.TILES[registers()[1]])
@pytest.mark.parametrize("rows", gemm.LOW)
@pytest.mark.parametrize("full", [False, True])
def test_low_panels(rows: int, columns: int, full: bool, size: int, side: Side) -> None:
    for N in widths_of(columns, full, size):
        for M in {1, rows // 2 + 1, rows}:
            for biased in (False, True):
                kernel = gemm.low_panel(size, columns, full, rows, biased)
                assert_panel_is_its_sum(kernel, M, N, size, side, biased=biased)


@in_each_size
@pytest.mark.parametrize("columns", gemm.TILES[registers()[1]])
def test_a_sum_goes_on_from_what_it_overwrites(columns: int, size: int) -> None:
    rng, N, R = np.random.default_rng(8), columns * lanes_of(size), 5
    low = ((gemm.low_panel(size, columns, 1, rows), (rows // 2 + 1, rows)) for rows in gemm.LOW)
    for kernel, heights in ((gemm.panel(size, columns, 1), heights_of(columns) - {0}), *low):
        for M in heights:
            C, S, V = (rng.normal(size=shape).astype(DTYPES[size]) for shape in ((M, N), (M, R), (R, N)))
            wanted = C + S.astype("f8") @ V
            run(kernel, C, N, 0, C, N, S, R, 1, V, N, M, N, R)
            close(C, wanted, size)


@on_each_side
@in_each_size
@pytest.mark.parametrize("R", [1, 2, 3, 7, 8, 16, 23, 32, 37, 150])
def test_narrow_panels_are_a_panel_and_their_rows_have_the_same_bits_in_any_number(
    R: int, size: int, side: Side
) -> None:
    rng, plain = np.random.default_rng(R), gemm.panel(size, 1, 0, "leaky_relu")
    for N in (N for N in range(1, 9) if few_columns.fits(R, N, size)):
        kernel = few_columns.narrow_panel(size, R, N, "leaky_relu")
        for M, gap in itertools.product((1, 2, lanes_of(size), 2 * lanes_of(size) + 3), (0, 3)):
            with guarded(side) as guard:
                C, wanted = (guard.empty((M - 1) * (N + gap) + N, DTYPES[size]) for _ in range(2))
                shapes = (N, (M - 1) * (R + gap) + R, R * N)
                init, S, V = (guard.copy(rng.normal(size=n), DTYPES[size], writeable=False) for n in shapes)
                for make, out in ((kernel, C), (plain, wanted)):
                    run(make, out, N + gap, 0, init, 0, S, R + gap, 1, V, N, M, N, R)
                alone = guard.empty(N, DTYPES[size])
                run(kernel, alone, N, 0, init, 0, S[(M - 1) * (R + gap) :], R, 1, V, N, 1, N, R)
            np.testing.assert_array_equal(alone, C[-N:])
            np.testing.assert_allclose(C, wanted, rtol=0, atol=R * EPSILON[size])
            assert np.isnan(C).sum() == gap * (M - 1)


@in_each_size
@pytest.mark.parametrize("sigma", list(filter(activation_kernels.is_short, activation_kernels.ACTIVATIONS)))
def test_a_panel_with_an_activation_makes_of_its_sums_what_the_activation_makes_of_them(sigma: str, size: int) -> None:
    rng, M, N, R = np.random.default_rng(7), 31, 2 * lanes_of(size), 5
    b, S, V = (rng.normal(size=shape).astype(DTYPES[size]) for shape in (N, (M, R), (R, N)))
    z, a, wanted = (np.empty((M, N), DTYPES[size]) for _ in range(3))
    for C, name in ((z, "identity"), (a, sigma)):
        run(gemm.panel(size, 2, 1, name), C, N, 0, b, 0, S, R, 1, V, N, M, N, R)
    run(activation_kernels.forward(sigma, size, N), wanted, z, M, N, N)
    assert a.tobytes() == wanted.tobytes() != z.tobytes()


@in_each_size
@pytest.mark.parametrize(
    "sigma", [name for name in activation_kernels.ACTIVATIONS if activation_kernels.has_short_derivative(name)]
)
def test_a_panel_with_a_derivative_makes_of_its_sums_what_the_activation_makes_of_deltas(sigma: str, size: int) -> None:
    rng, M, N, R = np.random.default_rng(7), 31, 2 * lanes_of(size), 5
    zeros, S, V = np.zeros(N, DTYPES[size]), *(rng.normal(size=n).astype(DTYPES[size]) for n in ((M, R), (R, N)))
    both, da, wanted = np.empty((2, M, N), DTYPES[size]), *(np.empty((M, N), DTYPES[size]) for _ in range(2))
    a, dz = both
    run(activation_kernels.forward(sigma, size, N), a, rng.normal(size=(M, N)).astype(DTYPES[size]), M, N, N)
    run(gemm.panel(size, 2, 1, f"{sigma}'"), dz, N, -M * N, zeros, 0, S, R, 1, V, N, M, N, R)
    run(gemm.panel(size, 2, 1), da, N, 0, zeros, 0, S, R, 1, V, N, M, N, R)
    run(activation_kernels.backward(sigma, size), wanted, a, a, da, M, N, N)
    assert dz.tobytes() == wanted.tobytes() != da.tobytes()


@on_each_side
@in_each_size
def test_dense_of_every_width(size: int, side: Side) -> None:
    rng = np.random.default_rng(4)
    for N, needed in [(width, needed) for width in WIDTHS for needed in (WIDTHS, (width,))]:
        panels = np.zeros(2 + max(gemm.TILES[registers()[1]]), np.int64)
        for i, kernel in gemm.panels_for(size, needed).items():
            panels[i] = kernel.address
        for M in (1, 7, 26):
            R = 1 + N % 5
            with guarded(side) as guard:
                C = guard.empty((M, N), DTYPES[size])
                b = guard.copy(rng.normal(size=N), DTYPES[size], writeable=False)
                S = guard.copy(rng.normal(size=(M, R)), DTYPES[size], writeable=False)
                V = guard.copy(rng.normal(size=(R, N)), DTYPES[size], writeable=False)
                run(gemm.dense(size), panels, C, N, 0, b, 0, S, R, 1, V, N, M, N, R)
            close(C, b + S.astype("f8") @ V, size)


@on_each_side
@in_each_size
def test_a_panel_for_one_row_has_the_bits_that_row_has_among_others(size: int, side: Side) -> None:
    rng, lanes = np.random.default_rng(4), lanes_of(size)
    for N in {N + more for N in (8 * lanes, 9 * lanes, 15 * lanes, 17 * lanes) for more in (-1, 0, 1, lanes // 2)}:
        panels = np.zeros(2 + max(gemm.TILES[registers()[1]]), np.int64)
        for i, kernel in gemm.panels_for(size, (N,)).items():
            panels[i] = kernel.address
        b, S, V = (rng.normal(size=shape).astype(DTYPES[size]) for shape in (N, (2, 5), (5, N)))
        both = np.empty((2, N), DTYPES[size])
        run(gemm.dense(size), panels, both, N, 0, b, 0, S, 5, 1, V, N, 2, N, 5)
        panels[-1] = gemm.row_panel(size, N, "identity").address
        with guarded(side) as guard:
            C = guard.empty(N, DTYPES[size])
            b, V = (guard.copy(array, DTYPES[size], writeable=False) for array in (b, V))
            run(gemm.dense(size), panels, C, N, 0, b, 0, S, 5, 1, V, N, 1, N, 5)
        np.testing.assert_array_equal(C, both[0])


@on_each_side
@in_each_size
def test_dots(size: int, side: Side) -> None:
    rng = np.random.default_rng(5)
    lanes = lanes_of(size)
    for M, N, R in itertools.product((1, 3), (1, 2, 5, lanes, 2 * lanes + 3), (1, lanes - 1, 2 * lanes + 1)):
        with guarded(side) as guard:
            C = guard.empty((M, N), DTYPES[size])
            b = guard.copy(rng.normal(size=N), DTYPES[size], writeable=False)
            S = guard.copy(rng.normal(size=(M, R)), DTYPES[size], writeable=False)
            V = guard.copy(rng.normal(size=(N, R)), DTYPES[size], writeable=False)
            run(few_rows.dots(size), C, N, b, 0, S, R, V, R, M, N, R)
        close(C, b + S.astype("f8") @ V.T, size)


@on_each_side
@in_each_size
def test_transposes(size: int, side: Side) -> None:
    for rows in WIDTHS:
        for columns in {1, 2, 15, 16, 17, 33, rows, 71 - rows if rows < 71 else 1}:
            with guarded(side) as guard:
                x = guard.copy(np.arange(rows * columns).reshape(rows, columns), DTYPES[size], writeable=False)
                out = guard.empty((columns, rows), DTYPES[size])
                run(transpose(size), out, rows, x, columns, rows, columns)
            assert (out == x.T).all()


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


ACTIVATION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "sin": np.sin,
    "softmax": softmax,
}


@on_each_side
@in_each_size
@pytest.mark.parametrize("name", ACTIVATION)  # all others are rows like these
def test_activations(name: str, size: int, side: Side) -> None:
    rng = np.random.default_rng(1)
    for width in WIDTHS:
        stride, rows = stride_of(width, size), 1 + width % 4
        with guarded(side) as guard:
            z, a, da, dz = (guard.empty((rows, stride), DTYPES[size]) for _ in range(4))
            z[:, :width] = rng.normal(size=(rows, width))
            da[:, :width] = rng.normal(size=(rows, width))
            run(activation_kernels.forward(name, size, width), a, z, rows, width, stride)
            run(activation_kernels.backward(name, size), dz, z, a, da, rows, width, stride)
        z8, a8, da8 = (x[:, :width].astype("f8") for x in (z, a, da))
        close(a8, ACTIVATION[name](z8), size)
        assert np.isfinite(a8).all()
        assert np.isfinite(dz[:, :width]).all()
        if name == "softmax":
            close(dz[:, :width], a8 * (da8 - (a8 * da8).sum(axis=1, keepdims=True)), size)


COST: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "squared_error": lambda a, y: (a - y) ** 2,
    "half_squared_error": lambda a, y: (a - y) ** 2 / 2,
    "cross_entropy": lambda a, y: -y * np.log(a),
    "binary_cross_entropy": lambda a, y: -y * np.log(a) - (1 - y) * np.log1p(-a),
    "kullback_leibler": lambda a, y: y * np.log(y / a),
}
KINDS_OF_LOSS = [
    *((name, False, False) for name in COST if name != "kullback_leibler"),
    *((name, True, False) for name in COST if name in losses.OWN_OUTPUT),
    ("cross_entropy", False, True),
    ("cross_entropy", True, True),
]


@on_each_side
@in_each_size
@pytest.mark.parametrize(("name", "fused", "classes"), KINDS_OF_LOSS)
def test_losses(name: str, fused: bool, classes: bool, size: int, side: Side) -> None:
    rng = np.random.default_rng(2)
    dtype, output = DTYPES[size], losses.OWN_OUTPUT.get(name, "identity")
    for width in WIDTHS:
        kernel, is_fused = loss_kernel(name, output, width, classes, size, fused)
        assert is_fused == fused
        rows, stride = 1 + width % 19, stride_of(width, size)
        z = rng.normal(size=(rows, width)).astype(dtype)
        a = ACTIVATION[output](z)
        target = rng.integers(0, width, rows) if classes else softmax(rng.normal(size=(rows, width)))
        with guarded(side) as guard:
            d, x = (guard.empty((rows, stride), dtype) for _ in range(2))
            costs, spare = (guard.empty(rows, dtype) for _ in range(2))
            x[:, :width] = z if fused else a
            y = guard.copy(target, dtype, writeable=False)
            weights = guard.copy(np.linspace(0.5, 2, rows), dtype, writeable=False)
            run(kernel, d, costs, spare, x, y, weights, 1, rows, width, stride, 0.25)
        assert np.isfinite(d[:, :width]).all()
        wanted = COST[name](a, np.eye(width)[target] if classes else target).sum(axis=1) * weights
        np.testing.assert_allclose(costs, wanted, rtol=1e-3 if size == 4 else 1e-10, atol=1e-5 if size == 4 else 0)


UPDATES: dict[str, tuple[list[float], Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "sgd": ([0.01], lambda g, w: 0.01 * g),
    "momentum": ([0.01, 0.9, 0.0], lambda g, w: 0.01 * g),
    "adam": ([0.01, 0.9, 0.999, 1e-8, 0.1, 0.001], lambda g, w: 0.01 * np.sign(g)),
    "adamw": ([0.01, 0.9, 0.999, 1e-8, 0.1, 0.001, 0.5], lambda g, w: 0.01 * (np.sign(g) + 0.5 * w)),
    "nadam": ([0.01, 0.9, 0.999, 1e-8, 0.1, 0.001, 0.3, 0.7], lambda g, w: 0.01 * (0.3 + 0.7 * 0.1) * np.sign(g)),
    "rmsprop": ([0.01, 0.75, 1e-8], lambda g, w: 0.02 * np.sign(g)),
    "adagrad": ([0.01, 1e-8], lambda g, w: 0.01 * np.sign(g)),
    "rprop": ([0.01, 0.5, 1.2, 1e-6, 50.0, 1.0], lambda g, w: 0.01 * np.sign(g)),
}
"""Settings, and the first step for a gradient and the weights (0 for biases)."""


@on_each_side
@in_each_size
def test_losses_of_pairs(size: int, side: Side) -> None:
    rng, dtype = np.random.default_rng(2), DTYPES[size]
    for pairs in WIDTHS:
        kernel, _ = loss_kernel("gaussian_nll", "identity", 2 * pairs, False, size)
        rows, stride = 1 + pairs % 19, stride_of(2 * pairs, size)
        m, s, target = rng.normal(size=(3, rows, pairs)).astype(dtype)
        with guarded(side) as guard:
            d, x = (guard.empty((rows, stride), dtype) for _ in range(2))
            costs, spare = (guard.empty(rows, dtype) for _ in range(2))
            x[:, : 2 * pairs] = np.hstack([m, s])
            y = guard.copy(target, dtype, writeable=False)
            weights = guard.copy(np.linspace(0.5, 2, rows), dtype, writeable=False)
            run(kernel, d, costs, spare, x, y, weights, 1, rows, 2 * pairs, stride, 0.25)
        assert np.isfinite(d[:, : 2 * pairs]).all()
        wanted = (s + (target - m) ** 2 * np.exp(-s)).sum(axis=1) / 2 * weights
        np.testing.assert_allclose(costs, wanted, rtol=1e-3 if size == 4 else 1e-10, atol=1e-4 if size == 4 else 1e-10)


@on_each_side
@in_each_size
@pytest.mark.parametrize("name", optimizers.RULES)
def test_update_rules(name: str, size: int, side: Side) -> None:
    rng = np.random.default_rng(3)
    kernel, moments = update(name, size), optimizers.RULES[name].moments
    settings, first_step = UPDATES[name]
    for n in WIDTHS:
        for begin, end in {(0, n), (n // 3, n), (0, n - n // 3), (n // 2, n // 2)}:
            with guarded(side) as guard:
                theta = guard.copy(rng.normal(size=n), DTYPES[size])
                before = theta.copy()
                gradient = guard.copy(rng.normal(size=n), DTYPES[size], writeable=False)
                state = guard.copy(np.zeros(moments * n), DTYPES[size])
                numbers = guard.copy(np.array(settings), writeable=False)
                assert run(kernel, theta, gradient, state, n, begin, end, n // 2, numbers) == 0
            inside = np.arange(n)
            inside = (inside >= begin) & (inside < end)
            assert (theta[~inside] == before[~inside]).all()
            step = first_step(gradient, np.where(np.arange(n) < n // 2, before, 0))
            np.testing.assert_allclose(theta[inside], (before - step)[inside], rtol=1e-4, atol=1e-5)
            assert (state.reshape(moments, n)[:, ~inside] == 0).all()
            assert (state.reshape(moments, n)[:, inside] != 0).all()


# The entry points -------------------------------------------------------------------------------------------


@njit
def predict(net: Any, theta: Any, X: Any, out: Any, workspace: Any) -> None:
    jit.predict(net, theta, X, out, workspace)


@njit
def value_and_gradient(net: Any, theta: Any, X: Any, y: Any, gradient: Any, workspace: Any) -> Any:
    return jit.value_and_gradient(net, theta, X, y, gradient, workspace)


KINDS = [
    ("relu", "softmax", "cross_entropy"),
    ("tanh", "identity", "squared_error"),
    ("sigmoid", "sigmoid", "binary_cross_entropy"),
    ("identity", "tanh", "half_squared_error"),
]


def example(i: int, dtype: str, rng: np.random.Generator) -> tuple[Model, np.ndarray, np.ndarray]:
    """A network with the i-th width in every place in turn, some rows, and targets that its loss takes."""
    width, other = WIDTHS[i], WIDTHS[(i * 29 + 7) % len(WIDTHS)]
    sizes = [(width, other, 3), (other, width, 2), (5, other, width), (width, 1, other, width)][i % 4]
    hidden, output, loss = KINDS[(i // 4) % 4]
    dropped = (0.0, 0.25, 0.5)[i % 3]
    model = Model(sizes, hidden, output, loss, bias=i % 5 != 0, dtype=dtype, seed=i, dropout=dropped)
    rows = (1, 2, 7, 13, 70)[i % 5]
    X = rng.normal(size=(rows, sizes[0])).astype(dtype)
    y = 1 / (1 + np.exp(-rng.normal(size=(rows, sizes[-1]))))
    if loss == "cross_entropy":
        y = rng.integers(0, sizes[-1], rows) if i % 2 else y / y.sum(axis=1, keepdims=True)
    return model, X, y.astype(dtype)


def locked(guard: Guard, a: np.ndarray) -> np.ndarray:
    """A copy that Numba takes for a writeable array, on pages that are not."""
    result = guard.copy(a, writeable=False)
    result.flags.writeable = True
    return result


@on_each_side
@in_each_size
def test_entry_points_of_every_width(size: int, side: Side) -> None:
    rng = np.random.default_rng(5)
    for i in range(len(WIDTHS)):
        model, X_all, y_all = example(i, DTYPES[size], rng)
        wanted = model.predict(X_all)
        wanted_cost, wanted_gradient = model.value_and_gradient(X_all, y_all)
        with guarded(side) as guard:
            net = locked(guard, model.compiled(classes=y_all.ndim == 1))
            theta = locked(guard, model.parameters)
            X, y = locked(guard, X_all), locked(guard, y_all)
            out, gradient = guard.empty(wanted.shape, DTYPES[size]), guard.empty(theta.shape, DTYPES[size])
            predict(net, theta, X, out, guard.empty(embedded_size(net, 1), DTYPES[size]))
            work = guard.empty(embedded_size(net, len(X)), DTYPES[size])  # as little as is accepted, of NaN
            cost = value_and_gradient(net, theta, X, y, gradient, work)
            assert (out == wanted).all()
            assert cost == wanted_cost
            assert (gradient == wanted_gradient).all()

            row, of_row = locked(guard, X_all[-1]), guard.empty(wanted.shape[1:], DTYPES[size])
            predict(net, theta, row, of_row, guard.empty(embedded_size(net, 1), DTYPES[size]))
            assert (of_row == wanted[-1]).all()
        assert model.workspace(len(X)).size >= work.size


@on_each_side
@in_each_size
def test_training_reads_nothing_but_its_rows(size: int, side: Side) -> None:
    rng = np.random.default_rng(6)
    for i in range(len(WIDTHS)):
        model, X_all, y_all = example(i, DTYPES[size], rng)
        twin = copy.deepcopy(model)
        weight_all = rng.random(len(X_all)).astype(DTYPES[size])
        with guarded(side) as guard:
            X, y, weight = (guard.copy(a, writeable=False) for a in (X_all, y_all, weight_all))
            options: dict[str, Any] = {"epochs": 2, "batch_size": 6, "optimizer": ("sgd", "adam")[i % 2]}
            model.fit(X, y, sample_weight=weight, n_threads=1 + i % 3, validation_data=(X, y, weight), **options)
            twin.fit(X_all, y_all, sample_weight=weight_all, **options)
            assert (model.parameters == twin.parameters).all()
            assert (model.predict(X) == twin.predict(X_all)).all()
            assert model.evaluate(X, y, weight) == twin.evaluate(X_all, y_all, weight_all)


@on_each_side
@in_each_size
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_a_fit_stays_inside_the_memory_that_it_asked_for(
    n_threads: int, size: int, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    many = rng.normal(size=(2100, 4)), rng.integers(0, 3, 2100)  # mini-batches of 1,050 rows in shards

    def train(i: int) -> Any:
        model, X, y = example(i, DTYPES[size], np.random.default_rng(i))
        model.l1, model.l2 = (0.0, 0.0) if i % 4 else (0.01, 0.1)
        optimizer = (SGD(), Adam(), AdamW(clip_norm=0.1))[i % 3]
        model.fit(X, y, epochs=2, batch_size=1 + i % 33, optimizer=optimizer, n_threads=n_threads)
        trace = model.forward(X).z + model.backward(X, y).da
        small = Model((4, 80 + i % 20, 3), KINDS[i % 4][0], "softmax", dtype=DTYPES[size], dropout=0.2 * (i % 3))
        assert shards_of(small.compiled(), 1050) > 1
        small.fit(*many, epochs=1, batch_size=1050, n_threads=n_threads)
        large = Model((1025 + i, 64 + i % 3, 3), dtype=DTYPES[size], dropout=0.2 * (i % 3))
        large.fit(np.resize(X, (40, 1025 + i)), np.resize(y, (40, 3)), epochs=1, batch_size=18, n_threads=n_threads)
        return [
            model.parameters,
            small.parameters,
            large.parameters,
            model.value_and_gradient(X, y)[1],
            model.predict(X),
            *trace,
        ]

    for i in range(0, len(WIDTHS), 2 if n_threads < 3 else 5):
        wanted = train(i)
        with guarded(side) as guard, monkeypatch.context() as patch:

            def zeros(count: int, dtype: Any, guard: Guard = guard) -> np.ndarray:
                return guard.copy(np.zeros(count, dtype))

            for module in ("model", "engine.job", "engine.trace"):
                patch.setattr(f"fastbp.{module}.aligned_zeros", zeros)
            for a, b in zip(train(i), wanted, strict=True):
                assert (a == b).all()
