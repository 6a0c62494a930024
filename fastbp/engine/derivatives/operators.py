"""SciPy's linear operators, of products that are functions of a vector."""

from collections.abc import Callable
from typing import Any

from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


def linear_operator(
    shape: tuple[int, int], dtype: DTypeLike, matvec: Callable[[Array], Array], rmatvec: Callable[[Array], Array]
) -> Any:
    """A scipy.sparse.linalg.LinearOperator; ImportError with a hint where SciPy is missing."""
    try:
        from scipy.sparse.linalg import LinearOperator
    except ImportError as error:
        raise ImportError("linear_operator needs SciPy: pip install scipy") from error
    return LinearOperator(shape, dtype=dtype, matvec=matvec, rmatvec=rmatvec)
