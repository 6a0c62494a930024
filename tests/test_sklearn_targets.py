"""The targets of the estimators: sparse ones, several labels, weights of classes and of examples."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

import pandas
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight

from fastbp.sklearn import MLPClassifier, MLPRegressor, from_sklearn
from fastbp.sklearn.networks import initial_theta

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
    with pytest.raises(ValueError, match=r"classes must be np\.arange\(3\), the column indices of y"):
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


# --- weights of classes and examples --------------------------------------------------------------------------------

PARTS = slice(0, 60), slice(60, 90)
RARE = (X[:, 0] + np.random.default_rng(1).normal(size=90) > 1.2).astype(int)


@pytest.mark.parametrize("weight", ["balanced", {1: 9.0}, {0: 0.0, 1: 1.0}], ids=str)
@pytest.mark.parametrize("sample_weight_val", [None, np.linspace(0, 3, 30)], ids=["alike", "weighted"])
def test_class_weights_are_not_those_of_validation_data(weight, sample_weight_val):
    train, held_out = PARTS
    data = {"X_val": X[held_out], "y_val": RARE[held_out], "sample_weight_val": sample_weight_val}
    stopped = MLPClassifier(**SMALL, class_weight=weight, early_stopping=True).fit(X[train], RARE[train], **data)
    assert stopped.best_validation_score_ == pytest.approx(stopped.score(*data.values()))
    for solver in ("adam", "lbfgs"):
        fitted = MLPClassifier(**SMALL, class_weight=weight, solver=solver).fit(X[train], RARE[train], **data)
        loss = log_loss(data["y_val"], fitted.predict_proba(data["X_val"]), sample_weight=sample_weight_val)
        assert fitted.validation_loss_curve_[-1] == pytest.approx(loss)
    parts = MLPClassifier(**SMALL, class_weight=weight, early_stopping=True)
    parts.partial_fit(X[train], RARE[train], classes=[0, 1], **data)
    assert parts.validation_scores_ == [pytest.approx(parts.score(*data.values()))]


@pytest.mark.parametrize("scoring", [None, "loss", "neg_log_loss"])
@pytest.mark.parametrize("sample_weight", [None, np.linspace(1, 2, 90)], ids=["alike", "weighted"])
def test_rows_held_out_count_neither_for_classes_nor_by_them(scoring, sample_weight):
    """Early stopping's own division is that of a given validation set, as in Model.fit."""
    parameters = SMALL | {"class_weight": "balanced", "early_stopping": True, "scoring": scoring, "shuffle": False}
    whole = MLPClassifier(**parameters).fit(X, RARE, sample_weight)
    rows = np.arange(90)
    rng = np.random.RandomState(0)
    initial_theta([3, 6, 1], ["relu"], rng, float)  # the initial weights come first
    train, held_out = train_test_split(rows, test_size=0.1, stratify=RARE, random_state=rng)
    weights = [None, None] if sample_weight is None else [sample_weight[train], sample_weight[held_out]]
    score = {
        None: lambda e: e.score(X[held_out], RARE[held_out], weights[1]),
        "loss": lambda e: -log_loss(RARE[held_out], e.predict_proba(X[held_out]), sample_weight=weights[1]),
    }
    assert whole.best_validation_score_ == pytest.approx(score.get(scoring, score["loss"])(whole))
    given = MLPClassifier(**parameters).fit(
        X[train], RARE[train], weights[0], X_val=X[held_out], y_val=RARE[held_out], sample_weight_val=weights[1]
    )
    np.testing.assert_allclose(whole.validation_loss_curve_, given.validation_loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(whole.coefs_[0], given.coefs_[0], rtol=1e-12)


def test_class_weights_name_classes_and_are_numbers():
    for weight, error, message in (
        ({7: 2}, ValueError, r"class_weight must name classes of y, \[0, 1, 2\], got 7"),
        ({0: -1}, ValueError, r"class_weight\[0\] must be finite and not negative, got -1"),
        ({0: np.nan}, ValueError, r"class_weight\[0\] must be finite and not negative, got nan"),
        ({0: "2"}, TypeError, r"class_weight\[0\] must be a number, got '2'"),
    ):
        with pytest.raises(error, match=message):
            MLPClassifier(**SMALL, class_weight=weight).fit(X, CLASS)
        with pytest.raises(error, match=message.replace("class_weight", r"class_weight\[1\]").replace(", 2", "")):
            MLPClassifier(**SMALL, class_weight=[{}, weight, {}]).fit(X, LABELS)
    every = MLPClassifier(**SMALL, class_weight={0: 1, 1: 2, 2: 3}).fit(X, CLASS)
    assert same(every, MLPClassifier(**SMALL, class_weight={np.int64(1): 2, 2.0: 3}).fit(X, CLASS))
    assert same(every, MLPClassifier(**SMALL, class_weight={0: 1, 1: 2, 2: 3, 7: 4}).fit(X, CLASS))  # a fold lacks 7


def test_class_weights_may_change_from_call_to_call():
    changed, plain = (MLPClassifier(**SMALL, class_weight=w).fit(X, CLASS) for w in ({0: 3}, {0: 3}))
    changed.set_params(class_weight={1: 9}).partial_fit(X, CLASS)
    plain.set_params(class_weight=None).partial_fit(X, CLASS, np.where(CLASS == 1, 9.0, 1.0))
    assert same(changed, plain)
    changed.set_params(class_weight=None).fit(X, CLASS > 0)  # other classes: those of before do not count
    plain = pickle.loads(pickle.dumps(changed))
    changed.set_params(class_weight="balanced").partial_fit(X, CLASS > 0)
    assert same(changed, plain.partial_fit(X, CLASS > 0, compute_sample_weight("balanced", CLASS > 0)))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_weights_that_leave_nothing_are_named(solver, form):
    zeros, data = np.zeros(90), {"X_val": form(X), "y_val": CLASS}
    for parameters, weights, message in (
        ({}, {"sample_weight": zeros}, "^sample_weight must not be all zero"),
        ({}, {"sample_weight": 0}, "^sample_weight must not be all zero"),
        ({}, {"sample_weight": -1 - zeros}, "^sample_weight must not be negative"),
        ({}, data | {"sample_weight_val": zeros}, "^sample_weight_val must not be all zero"),
        ({}, data | {"sample_weight_val": zeros - 1}, "^sample_weight_val must not be negative"),
        ({}, data | {"sample_weight_val": zeros[:3]}, r"^sample_weight_val must have shape \(90,\)"),
        ({}, {"sample_weight_val": zeros}, "^sample_weight_val needs X_val and y_val"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, {}, "^sample_weight by class_weight must not be all zero"),
        ({"class_weight": {0: 0}}, {"sample_weight": CLASS == 0}, "^sample_weight by class_weight must not be all z"),
    ):
        estimator = MLPClassifier(**SMALL | {"solver": solver}, **parameters)
        with pytest.raises(ValueError, match=message):
            estimator.fit(form(X), CLASS, **weights)
        if "class_weight" not in parameters:
            with pytest.raises(ValueError, match=message):
                MLPRegressor("poisson", **SMALL | {"solver": solver}).fit(form(X), CLASS, **weights)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_the_part_of_the_rows_that_has_no_weight_is_named(kind):
    """A single row that weighs anything is in one of the parts, so that the other one has nothing."""
    estimator, named = kind(**SMALL, early_stopping=True, validation_fraction=0.2), []
    for row in np.eye(90):
        with pytest.raises(ValueError, match=r"^sample_weight must not be all zero for the rows ") as caught:
            estimator.fit(X, RARE, row)
        named.append(str(caught.value).partition("the rows ")[2])
    assert (named.count("to train on"), named.count("held out by validation_fraction")) == (18, 72)
