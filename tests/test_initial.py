"""Initial parameters: how they are distributed, that a seed repeats them, what a user may bring instead."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.initial import NAMES, initial_parameters

DTYPES = ("float32", "float64")


def blocks(theta: np.ndarray, sizes: tuple[int, ...], bias: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(w, b) of each layer, w of shape (n_out, n_in), cut from theta by hand."""
    result, at = [], 0
    for n_in, n_out in pairwise(sizes):
        w = theta[at : at + n_in * n_out].reshape(n_in, n_out).T
        at += n_in * n_out
        b = theta[at : at + (n_out if bias else 0)]
        at += b.size
        result.append((w, b))
    assert at == theta.size
    return result


def initial_(sizes: tuple[int, ...], initial: Any = "auto", bias: bool = True, **options: Any) -> np.ndarray:
    activations = options.pop("activations", ("relu",) * (len(sizes) - 2) + ("identity",))
    return initial_parameters(sizes, activations, bias, initial, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_theta_is_flat_finite_of_the_dtype_and_its_biases_are_zero(name: str, bias: bool, dtype: str) -> None:
    sizes = (5, 7, 1, 3)
    theta = initial_(sizes, name, bias, dtype=dtype)
    assert theta.shape == (5 * 7 + 7 * 1 + 1 * 3 + (7 + 1 + 3) * bias,)
    assert theta.dtype == np.dtype(dtype)
    assert theta.flags.c_contiguous
    assert theta.flags.writeable
    for w, b in blocks(theta, sizes, bias):
        assert np.isfinite(w).all()
        assert not b.any()
        assert w.any() or name == "zeros"


@pytest.mark.parametrize(
    ("name", "variance", "uniform"),
    [
        ("glorot_uniform", 2 / (300 + 200), True),  # Glorot & Bengio 2010, equations 12 and 16
        ("glorot_normal", 2 / (300 + 200), False),
        ("he_uniform", 2 / 300, True),  # He et al. 2015, equation 10
        ("he_normal", 2 / 300, False),
    ],
)
def test_each_scheme_has_the_published_variance_and_shape(name: str, variance: float, uniform: bool) -> None:
    w = initial_((300, 200), name, bias=False, seed=5, dtype="float64")
    n = w.size
    assert abs(w.mean()) < 4 * np.sqrt(variance / n)
    assert w.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / n))
    kurtosis = (w**4).mean() / variance**2
    assert kurtosis == pytest.approx(1.8 if uniform else 3.0, rel=0.05)
    if uniform:
        limit = np.sqrt(3 * variance)
        assert 0.99 * limit < abs(w).max() <= limit


@pytest.mark.parametrize("activations", [("relu", "tanh", "softmax"), ("gelu", "selu", "sin")])
def test_auto_takes_he_into_the_likes_of_relu_and_glorot_elsewhere(activations: tuple[str, ...]) -> None:
    sizes = (40, 30, 20, 10)
    theta = initial_(sizes, "auto", activations=activations, dtype="float64")
    limits = [abs(w).max() for w, _ in blocks(theta, sizes, True)]
    expected = [np.sqrt(6 / 40), np.sqrt(6 / 50), np.sqrt(6 / 30)]
    np.testing.assert_allclose(limits, expected, rtol=0.02)
    assert (limits <= np.array(expected)).all()


def test_initial_zeros() -> None:
    assert not initial_((3, 4, 2), "zeros").any()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "zeros"])
@given(seed=st.integers(0, 2**63 - 1))
def test_a_seed_repeats_its_numbers_in_both_dtypes(name: str, seed: int) -> None:
    sizes = (3, 4, 2)
    double = initial_(sizes, name, seed=seed, dtype="float64")
    assert (initial_(sizes, name, seed=seed, dtype="float64") == double).all()
    assert (initial_(sizes, name, seed=seed, dtype="float32") == double.astype("float32")).all()
    assert (initial_(sizes, name, seed=seed ^ 1, dtype="float64") != double).any()


def test_the_layers_and_the_columns_differ() -> None:
    (w1, _), (w2, _) = blocks(initial_((4, 4, 4), "he_normal"), (4, 4, 4), True)
    assert (w1 != w2).all()
    assert len(np.unique(w1)) == w1.size


@given(st.data())
def test_a_users_layers_and_flat_theta_land_in_their_places(data: st.DataObject) -> None:
    sizes = tuple(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=5)))
    bias = data.draw(st.booleans())
    dtype = data.draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    layers = [(rng.normal(size=(n_out, n_in)), rng.normal(size=n_out)) for n_in, n_out in pairwise(sizes)]
    items: Any = layers if bias else [w for w, _ in layers]
    theta = initial_(sizes, items, bias, dtype=dtype)
    assert theta.dtype == np.dtype(dtype)
    for (w, b), (mine, my_bias) in zip(blocks(theta, sizes, bias), layers, strict=True):
        assert (w == mine.astype(dtype)).all()
        assert not bias or (b == my_bias.astype(dtype)).all()
    for same in (
        iter(items),
        tuple(items),
        theta,
        theta.tolist(),
        theta.astype(">f8"),
        np.repeat(theta, 2)[::2],
        [(w.tolist(), b.tolist()) for w, b in layers] if bias else [w.tolist() for w, _ in layers],
        [(np.asfortranarray(w), b[::-1][::-1]) for w, b in layers] if bias else [w[:, ::-1][:, ::-1] for w in items],
    ):
        assert (initial_(sizes, same, bias, dtype=dtype) == theta).all()


def test_equal_layers_may_come_as_one_array() -> None:
    stacked = np.arange(8.0).reshape(2, 2, 2)
    theta = initial_((2, 2, 2), stacked, bias=False, dtype="float64")
    assert theta.tolist() == [0, 2, 1, 3, 4, 6, 5, 7]  # k-major: element k * n_out + j is w_jk


def test_the_result_is_never_the_users_array() -> None:
    for dtype in DTYPES:
        theta = np.ones(3, dtype)
        theta.flags.writeable = False
        result = initial_((2, 1), theta, dtype=dtype)
        assert not np.shares_memory(result, theta)
        assert result.flags.writeable
        w, b = np.ones((1, 2), dtype), np.ones(1, dtype)
        joined = initial_((2, 1), [(w, b)], dtype=dtype)
        assert not np.shares_memory(joined, w)
        assert not np.shares_memory(joined, b)
        only = initial_((2, 1), [w], bias=False, dtype=dtype)
        assert not np.shares_memory(only, w)


W1, B1, W2, B2 = np.ones((3, 2)), np.ones(3), np.ones((1, 3)), np.ones(1)  # of sizes (2, 3, 1)


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        (
            "he_unifrom",
            "initial must be one of auto, glorot_uniform, glorot_normal, he_uniform, he_normal, zeros, ",
        ),
        (np.ones(12), "initial must have shape (13,), got shape (12,)"),
        ([], "initial must have shape (13,), got shape (0,)"),
        (np.full(13, np.nan), "initial must be finite, got nan at index 0"),
        (np.full(13, 1e39), "initial must fit in float32, got 1e+39 at index 0"),
        ([(W1, B1)], "initial must have one pair (w, b) for each of the 2 layers, got 1 items"),
        ([W1, W2], "initial[0] must be a pair (w, b), got ndarray of shape (3, 2)"),
        ([(W1, B1), (W2,)], "initial[1] must be a pair (w, b), got tuple"),
        ([(W1.T, B1), (W2, B2)], "initial[0][0] must have shape (3, 2), got shape (2, 3)"),
        ([(W1, B2), (W2, B2)], "initial[0][1] must have shape (3,), got shape (1,)"),
        ([(W1, B1), (W2, [np.inf])], "initial[1][1] must be finite, got inf at index 0"),
        ([(W1, B1), ([[1, 1e39, 1]], B2)], "initial[1][0] must fit in float32, got 1e+39 in row 0, column 1"),
    ],
)
def test_wrong_values_are_refused(initial: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        initial_((2, 3, 1), initial)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ([W1], "initial must have one weight array for each of the 2 layers, got 1 items"),
        ([W1, W2.T], "initial[1] must have shape (1, 3), got shape (3, 1)"),
        ([(W1, B1), (W2, B2)], "initial[0] must "),
    ],
)
def test_wrong_weights_of_a_network_without_biases_are_refused(initial: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        initial_((2, 3, 1), initial, bias=False)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        (None, "initial must be a name (auto, "),
        (3, "initial must be a name (auto, "),
        (["he_normal", "zeros"], "initial must hold real numbers, got list of dtype <U"),
        (np.ones(13, complex), "initial must hold real numbers, got ndarray of dtype complex128"),
        ([(W1, B1), (W2, ["a"])], "initial[1][1] must hold real numbers, got list of dtype <U1"),
    ],
)
def test_what_is_no_parameter_is_refused(initial: Any, message: str) -> None:
    with pytest.raises(TypeError) as error:
        initial_((2, 3, 1), initial)
    assert str(error.value).startswith(message)


def test_wrong_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^seed must be a whole number >= 0, got -1$"):
        initial_((2, 1), seed=-1)
    with pytest.raises(TypeError, match=r"^seed must be a whole number >= 0, got 0.5$"):
        initial_((2, 1), seed=0.5)
