"""scikit-learn's MLPClassifier and MLPRegressor, over fastbp: change the import, keep the code (extra: sklearn)."""

from typing import Any

try:
    from sklearn import neural_network
except ImportError as error:
    raise ImportError('fastbp.sklearn needs scikit-learn and SciPy: pip install "fastbp[sklearn]"') from error

from fastbp.sklearn import convert
from fastbp.sklearn.classifier import MLPClassifier
from fastbp.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]

KINDS: dict[Any, Any] = {neural_network.MLPClassifier: MLPClassifier, neural_network.MLPRegressor: MLPRegressor}


def from_sklearn(estimator: Any) -> Any:
    """fastbp's estimator with the parameters of scikit-learn's MLPClassifier or MLPRegressor, and its weights.

    Predictions are the same up to rounding; the optimizer's moments are not taken along. TypeError for anything else.
    The way back is the method to_sklearn.
    """
    for theirs, ours in KINDS.items():
        if isinstance(estimator, theirs):
            return convert.from_sklearn(estimator, ours)
    raise TypeError(f"estimator must be scikit-learn's MLPClassifier or MLPRegressor, got {estimator!r}")
