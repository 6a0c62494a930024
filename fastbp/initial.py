"""Initial parameters: seeded draws by the usual formulas, zeros, or the user's arrays.

Everything is drawn in float64 with one generator, layer after layer, and then rounded to the dtype, so
that float32 and float64 models with the same seed start from the same numbers.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp.inputs.arrays import as_shape, as_vector
from fastbp.inputs.checks import choice, floating_dtype, nonnegative_int
from fastbp.inputs.sources import asarray

Array = NDArray[Any]
Initial = str | ArrayLike | Sequence[ArrayLike] | Sequence[tuple[ArrayLike, ArrayLike]]
Draw = Callable[[np.random.Generator, int, int, int], NDArray[np.float64]]
CHUNK = 1 << 16  # numbers drawn at a time, so that no float64 copy of theta is needed


def glorot_uniform(rng: np.random.Generator, n_in: int, n_out: int, count: int) -> NDArray[np.float64]:
    """w uniform in ±√(6 / (n_in + n_out)): Glorot & Bengio 2010, equation 16."""
    limit = np.sqrt(6 / (n_in + n_out))
    return rng.uniform(-limit, limit, count)


def glorot_normal(rng: np.random.Generator, n_in: int, n_out: int, count: int) -> NDArray[np.float64]:
    """w normal with variance 2 / (n_in + n_out): Glorot & Bengio 2010, equation 12."""
    return rng.normal(0, np.sqrt(2 / (n_in + n_out)), count)


def he_uniform(rng: np.random.Generator, n_in: int, n_out: int, count: int) -> NDArray[np.float64]:
    """w uniform in ±√(6 / n_in), which has the variance of he_normal."""
    limit = np.sqrt(6 / n_in)
    return rng.uniform(-limit, limit, count)


def he_normal(rng: np.random.Generator, n_in: int, n_out: int, count: int) -> NDArray[np.float64]:
    """w normal with variance 2 / n_in: He, Zhang, Ren & Sun 2015, equation 10."""
    return rng.normal(0, np.sqrt(2 / n_in), count)


def zeros(rng: np.random.Generator, n_in: int, n_out: int, count: int) -> NDArray[np.float64]:
    """w = 0."""
    return np.zeros(count)


# Each draws the next `count` weights of a layer of n_in inputs and n_out outputs; all start the biases at zero.
DRAWS: dict[str, Draw] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "zeros": zeros,
}
NAMES = ("auto", *DRAWS)
RELU_LIKE = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish")  # close to z for z > 0, close to 0 below
AUTO: dict[object, str] = dict.fromkeys(RELU_LIKE, "he_uniform")  # by activation; all others: glorot_uniform


def initial_parameters(
    sizes: Sequence[int],
    activations: Sequence[object],
    bias: bool = True,
    initial: Initial = "auto",
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Array:
    """A new flat theta of dtype: w(1), b(1), …, w(L), b(L), element k * n_out + j of a weight block is w_jk.

    sizes: of the L + 1 layers, inputs first; activations: of the L layers after the inputs. initial: a name
    in NAMES, a flat theta, or one item per layer, w (bias=False) or (w, b), with w of shape (n_out, n_in) and
    b of (n_out,). ValueError or TypeError: unknown name, wrong shape, a value not finite in dtype.
    """
    dtype = floating_dtype(dtype)
    layers = list(pairwise(sizes))
    if isinstance(initial, str):
        return _drawn(layers, activations, bias, choice("initial", initial, NAMES), seed, dtype)
    if isinstance(initial, np.ndarray) and initial.ndim == 1 and initial.dtype != object:
        items: Any = initial
    else:
        items = _items(initial)
    if all(_is_number(item) for item in items[:1]):
        size = sum((n_in + bias) * n_out for n_in, n_out in layers)
        return as_vector(items, size, dtype, "initial").copy()
    return _joined(layers, bias, items, dtype)


def _drawn(
    layers: list[tuple[int, int]],
    activations: Sequence[object],
    bias: bool,
    name: str,
    seed: int,
    dtype: np.dtype[Any],
) -> Array:
    """theta by one scheme, or by that of each layer's activation ("auto")."""
    rng = np.random.default_rng(nonnegative_int("seed", seed))
    theta = np.zeros(sum((n_in + bias) * n_out for n_in, n_out in layers), dtype)
    offset = 0
    for (n_in, n_out), activation in zip(layers, activations, strict=True):
        scheme = AUTO.get(activation, "glorot_uniform") if name == "auto" else name
        weights = theta[offset : offset + n_in * n_out]
        for begin in range(0, len(weights), CHUNK):
            chunk = weights[begin : begin + CHUNK]
            chunk[:] = DRAWS[scheme](rng, n_in, n_out, len(chunk))
        offset += (n_in + bias) * n_out
    return theta


def _items(initial: Any) -> list[Any]:
    try:
        return list(initial)
    except TypeError:
        names = ", ".join(NAMES)
        raise TypeError(
            f"initial must be a name ({names}), a flat vector or one item per layer, got {initial!r}"
        ) from None


def _is_number(item: Any) -> bool:
    if isinstance(item, tuple | list):
        return False
    return np.ndim(item if hasattr(item, "ndim") else asarray(item, "initial")) == 0


def _joined(layers: list[tuple[int, int]], bias: bool, items: list[Any], dtype: np.dtype[Any]) -> Array:
    """theta from one w, or (w, b), per layer."""
    wanted = "pair (w, b)" if bias else "weight array"
    if len(items) != len(layers):
        raise ValueError(f"initial must have one {wanted} for each of the {len(layers)} layers, got {len(items)} items")
    blocks = []
    for i, ((n_in, n_out), item) in enumerate(zip(layers, items, strict=True)):
        w, b, name = item, np.zeros(0), f"initial[{i}]"
        if bias:
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise ValueError(f"{name} must be a {wanted}, got {_type_and_shape(item)}")
            w, b, name = item[0], as_shape(item[1], (n_out,), dtype, f"{name}[1]"), f"{name}[0]"
        blocks += [as_shape(w, (n_out, n_in), dtype, name).T.reshape(-1), b.astype(dtype, copy=False)]
    return np.concatenate(blocks)


def _type_and_shape(item: Any) -> str:
    shape = getattr(item, "shape", None)
    return type(item).__name__ if shape is None else f"{type(item).__name__} of shape {shape}"
