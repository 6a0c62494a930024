"""scikit-learn's own checks of an estimator: all pass, for both classes."""

import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.utils.estimator_checks import check_estimator

from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of checks that give what deserves one
]


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_all_checks_of_scikit_learn_pass(kind):
    results = check_estimator(kind(max_iter=100), on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed
    assert sum(result["status"] == "passed" for result in results) > 40
