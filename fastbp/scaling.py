"""Scaling: the affine maps before the first and behind the last layer of a network, and how they are learned."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp.inputs import sources
from fastbp.inputs.arrays import as_shape
from fastbp.inputs.sources import Source

Array = NDArray[Any]

CONSTANT = 16.0
"""A column is constant if its standard deviation is below this many roundings of its mean."""


class Scaling:
    """(x - mean) / scale of each input; with outputs, also y = output_mean + output_scale a of each output.

    mean, scale: (n_inputs,) finite numbers, scale above 0; output_mean, output_scale: (n_outputs,), both or neither.
    Vectors in float64, read-only. ValueError or TypeError name the argument.
    """

    FIELDS = ("mean", "scale", "output_mean", "output_scale")
    mean: Array
    scale: Array
    output_mean: Array | None
    output_scale: Array | None

    def __init__(
        self,
        mean: ArrayLike,
        scale: ArrayLike,
        output_mean: ArrayLike | None = None,
        output_scale: ArrayLike | None = None,
    ) -> None:
        if (output_mean is None) != (output_scale is None):
            raise ValueError("output_mean and output_scale must be given together")
        self.mean, self.scale = as_pair(mean, scale, "")
        self.output_mean = self.output_scale = None
        if output_mean is not None and output_scale is not None:
            self.output_mean, self.output_scale = as_pair(output_mean, output_scale, "output_")
        self._hash = hash(self._bytes())

    @property
    def named(self) -> dict[str, Array]:
        """The vectors that are there, by name."""
        return {name: vector for name in self.FIELDS if (vector := getattr(self, name)) is not None}

    @property
    def kind(self) -> str:
        """What of a model it standardizes: "inputs" or "both"."""
        return "inputs" if self.output_mean is None else "both"

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Scaling) and self._bytes() == other._bytes())

    def __hash__(self) -> int:
        return self._hash

    def _bytes(self) -> tuple[bytes, ...]:
        return tuple(vector.tobytes() for vector in self.named.values())

    def __repr__(self) -> str:
        return f"Scaling({', '.join(str(vector.tolist()) for vector in self.named.values())})"

    def check(self, n_inputs: int, n_outputs: int, dtype: DTypeLike, standardize: str) -> None:
        """ValueError unless it is for n_inputs and n_outputs, fits in dtype and is of this kind."""
        if self.kind != standardize:
            raise ValueError(f"the scaling must be one of standardize={standardize!r}, got one of {self.kind!r}")
        for name, vector in self.named.items():
            count = n_outputs if name.startswith("output") else n_inputs
            if vector.shape != (count,):
                raise ValueError(f"{name} of the scaling must have shape ({count},), got {vector.shape}")
            with np.errstate(all="ignore"):
                rounded = vector.astype(dtype)
                inverse = (1 / vector).astype(dtype) if "scale" in name else rounded
            if not (np.isfinite(rounded).all() and np.isfinite(inverse).all()):
                raise ValueError(f"{name} of the scaling must fit in {np.dtype(dtype)}, got {vector.tolist()}")
            if "scale" in name and not (rounded > 0).all() & (inverse > 0).all():
                raise ValueError(f"{name} of the scaling must fit in {np.dtype(dtype)}, got {vector.tolist()}")

    @property
    def of_derivatives(self) -> Array:
        """What ∂y_j/∂x_k is multiplied by to become that of the network between the scalings: scale_k / scale_j."""
        outputs = np.ones(1) if self.output_scale is None else self.output_scale
        factors: Array = self.scale[None, :] / outputs[:, None]
        return factors

    def inputs(self, X: Array) -> Array:
        """(x - mean) / scale in X's dtype, bit-identical to what compiled code makes of the inputs."""
        return standardized(X, self.mean, self.scale)

    def targets(self, y: Array) -> Array:
        """(y - output_mean) / output_scale, or y where the outputs are not scaled; as `inputs`."""
        if self.output_mean is None or self.output_scale is None:
            return y
        return standardized(y, self.output_mean, self.output_scale)


def standardized(x: Array, mean: Array, scale: Array) -> Array:
    """(x - mean) factor, with mean and factor = 1 / scale rounded to x's dtype."""
    result: Array = (x - mean.astype(x.dtype)) * (1 / scale).astype(x.dtype)
    return result


def as_pair(mean: ArrayLike, scale: ArrayLike, prefix: str) -> tuple[Array, Array]:
    """Checked, as read-only vectors of float64."""
    vectors = []
    for name, value in ((f"{prefix}mean", mean), (f"{prefix}scale", scale)):
        shape = np.shape(value)
        if len(shape) != 1:
            raise ValueError(f"{name} must be a vector, one number for each column, got shape {shape}")
        vector = np.array(as_shape(value, shape, np.float64, name))
        vector.flags.writeable = False
        vectors.append(vector)
    if vectors[0].shape != vectors[1].shape:
        raise ValueError(
            f"{prefix}scale must have as many elements as {prefix}mean, {vectors[0].size}, got {vectors[1].size}"
        )
    if not (vectors[1] > 0).all():
        raise ValueError(f"{prefix}scale must be positive, got {vectors[1].min()} at index {vectors[1].argmin()}")
    return vectors[0], vectors[1]


# --- learning ---------------------------------------------------------------------------------------------------------


def learned(X: Array | Source, y: Array | None, weights: Array | None, *, centre: bool) -> Scaling:
    """The weighted mean and standard deviation of the columns of X and, unless None, of y (n, n_outputs), in float64.

    A constant column has scale 1. centre = False: the means of the inputs are 0, as sparse ones have to stay.
    """
    mean, scale = statistics(X, weights)
    if not centre:
        mean = np.zeros_like(mean)
    if y is None:
        return Scaling(mean, scale)
    return Scaling(mean, scale, *statistics(y, weights))


def statistics(X: Array | Source, weights: Array | None) -> tuple[Array, Array]:
    """Mean and standard deviation of each column, 1 for a constant one: in two passes over pieces of the rows."""
    dtype = X.dtype if isinstance(X, np.ndarray) else np.dtype(np.float64)
    mean = total(X, weights, lambda piece: piece)
    deviation = np.sqrt(total(X, weights, lambda piece: np.square(piece - mean)))
    rounding = CONSTANT * float(np.finfo(dtype).eps) * np.abs(mean)
    return mean, np.where(deviation > rounding, deviation, 1.0)


def total(X: Array | Source, weights: Array | None, of: Callable[[Array], Array]) -> Array:
    """Σ_n w_n of(x_n) / Σ_n w_n of each column."""
    rows, columns = X.shape
    step = max(1, sources.PIECE_BYTES // (8 * columns))
    result = np.zeros(columns)
    for begin in range(0, rows, step):
        end = min(begin + step, rows)
        piece = sources.between(X, begin, end, np.float64).astype(np.float64, copy=False)
        w = np.ones(end - begin) if weights is None else weights[begin:end].astype(np.float64)
        result += w @ of(piece)
    whole = rows if weights is None else float(weights.sum(dtype=np.float64))
    return result / whole
