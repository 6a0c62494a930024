"""The targets of the estimators: sparse ones, several labels, weights of classes and of examples."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

import pandas
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.base import clone

from fastbp.sklearn import MLPClassifier, MLPRegressor, from_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(90, 3))
CLASS = X.argmax(axis=1)
LABELS = (X > 0).astype(int)
SMALL = {"hidden_layer_sizes": (6,), "random_state": 0, "learning_rate_init": 0.02, "max_iter": 8}
FORMATS = [sparse.csr_matrix, sparse.csc_array, sparse.coo_array, sparse.lil_matrix]


def same(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


# --- sparse targets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "lbfgs"},
        {"class_weight": "balanced"},
        {"class_weight": [{0: 1, 1: 2}, {0: 3, 1: 1}, {0: 1, 1: 1}]},
        {"early_stopping": True},
        {"early_stopping": True, "scoring": "f1_macro"},
        {"early_stopping": True, "scoring": "roc_auc"},
        {"early_stopping": True, "scoring": "neg_mean_absolute_error"},
    ],
    ids=str,
)
def test_sparse_labels_are_dense_labels(form, parameters):
    dense, thin = (MLPClassifier(**SMALL | parameters).fit(X, y) for y in (LABELS, form(LABELS)))
    assert same(dense, thin)
    assert vars(dense).get("validation_scores_") == vars(thin).get("validation_scores_")
    np.testing.assert_array_equal(thin.predict(X).toarray(), dense.predict(X))
    assert thin.score(X, LABELS) == thin.score(X, form(LABELS)) == dense.score(X, form(LABELS))


@pytest.mark.parametrize("y", [sparse.csr_matrix(LABELS), sparse.coo_array(LABELS), LABELS, LABELS == 1, CLASS])
def test_predictions_have_the_form_of_scikit_learn(y):
    mine, other = (kind(max_iter=2).fit(X, y).predict(X) for kind in (MLPClassifier, theirs.MLPClassifier))
    assert type(mine) is type(other)
    assert (mine.dtype, mine.shape) == (other.dtype, other.shape)


def test_sparse_and_dense_labels_mix_from_call_to_call():
    thin = sparse.csr_matrix(LABELS)
    dense = MLPClassifier(**SMALL).partial_fit(X, LABELS, classes=np.arange(3), X_val=X, y_val=LABELS)
    mixed = MLPClassifier(**SMALL).partial_fit(X, thin, classes=np.arange(3), X_val=X, y_val=LABELS)
    dense.partial_fit(X, LABELS, X_val=X, y_val=LABELS)
    mixed.partial_fit(X, LABELS, X_val=X, y_val=thin)
    assert same(dense, mixed)
    assert dense.validation_loss_curve_ == mixed.validation_loss_curve_
    assert sparse.issparse(mixed.predict(X))  # as the first y was
    assert isinstance(mixed.fit(X, LABELS).predict(X), np.ndarray)


def test_copies_and_conversions_keep_predicting_sparse_labels():
    fitted = MLPClassifier(**SMALL).fit(X, sparse.csr_matrix(LABELS))
    for other in (pickle.loads(pickle.dumps(fitted)), fitted.to_sklearn(), from_sklearn(fitted.to_sklearn())):
        assert isinstance(other.predict(X), sparse.csr_matrix)
        assert (other.predict(X) != fitted.predict(X)).nnz == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_other_sparse_targets_are_dense_ones():
    for kind, y in ((MLPRegressor, X[:, :2] * LABELS[:, :2]), (MLPRegressor, X[:, :1]), (MLPClassifier, LABELS[:, :1])):
        data = {"X_val": X[:9], "y_val": sparse.csr_array(y[:9])}
        dense, thin = (kind(**SMALL).fit(X, form(y), **data) for form in (np.asarray, sparse.csr_array))
        assert same(dense, thin)
        assert dense.predict(X).shape == thin.predict(X).shape
        assert dense.validation_loss_curve_ == thin.validation_loss_curve_


# --- classes and labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, pandas.DataFrame, sparse.csr_matrix])
@pytest.mark.parametrize("classes", [np.arange(3), [0, 1, 2], [2, 1, 0], np.eye(3, dtype=int)], ids=repr)
def test_the_classes_of_several_labels_are_their_columns(form, classes):
    estimator = MLPClassifier(**SMALL)
    for _ in range(2):
        estimator.partial_fit(X, form(LABELS), classes=classes)
    np.testing.assert_array_equal(estimator.classes_, [0, 1, 2])
    assert same(estimator, MLPClassifier(**SMALL | {"max_iter": 2}).fit(X, LABELS))


@pytest.mark.parametrize("classes", [["a", "b", "c"], [5, 6, 7], [0, 1], np.arange(4), [[0, 1]] * 3], ids=repr)
def test_other_classes_of_several_labels_are_refused_at_once(classes):
    estimator = MLPClassifier(**SMALL)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=r"classes must be np\.arange\(3\), the numbers of y's columns"):
        estimator.partial_fit(X, LABELS, classes=classes)
    assert vars(estimator) == before


def test_the_same_classes_in_any_order_are_the_same():
    names = np.array(["cat", "dog", "emu"])
    estimator = MLPClassifier(**SMALL).partial_fit(X, names[CLASS], classes=["emu", "cat", "dog"])
    estimator.partial_fit(X, pandas.Series(names[CLASS]), classes=list(names))
    assert list(estimator.classes_) == list(names)


def test_classes_and_labels_do_not_mix():
    for y, other, shape in (
        (CLASS, LABELS, r"\(n,\), one class for each example, got shape \(90, 3\)"),
        (LABELS, CLASS, r"\(n, 3\), 0 and 1 for each label, got shape \(90,\)"),
        (LABELS, LABELS[:, :2], r"\(n, 3\), 0 and 1 for each label, got shape \(90, 2\)"),
        (CLASS, np.eye(3, dtype=int)[CLASS], r"\(n,\), one class for each example, got shape \(90, 3\)"),
    ):
        fitted = MLPClassifier(**SMALL).fit(X, y)
        with pytest.raises(ValueError, match=f"^y must have shape {shape}"):
            fitted.partial_fit(X, other)
        with pytest.raises(ValueError, match=f"^y_val must have shape {shape}"):
            clone(fitted).fit(X, y, X_val=X, y_val=other)
