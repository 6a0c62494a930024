"""What early stopping looks at: scikit-learn's scorers, also where the validation set lacks a class."""

from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    get_scorer,
    log_loss,
    make_scorer,
    roc_auc_score,
)

from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),  # of the first look at the rows
]

X = np.random.default_rng(0).normal(size=(90, 3))
RARE = (X[:, 0] > 0).astype(int)
RARE[:3] = 2  # early stopping holds out none of these
CLASS = X.argmax(axis=1)
LABELS = (X > 0).astype(int)
STOPPED = {"hidden_layer_sizes": (6,), "early_stopping": True, "random_state": 0, "learning_rate_init": 0.02}
SHORT = STOPPED | {"max_iter": 12}
RESTRICTED = (X[60:], RARE[60:])
NUMBERS = np.arange(3)


def restricted(scoring, names=NUMBERS):
    """A classifier of three classes that was scored on two of them."""
    X_val, y_val = RESTRICTED
    data = {"X_val": X_val, "y_val": names[y_val]}
    return MLPClassifier(**SHORT, scoring=scoring).fit(X, names[RARE], **data), *data.values()


# --- classes that are not held out ----------------------------------------------------------------------------------


def test_the_loss_is_the_same_by_either_name():
    by_name, scored = (MLPClassifier(**SHORT, scoring=s).fit(X, RARE) for s in ("loss", "neg_log_loss"))
    np.testing.assert_allclose(by_name.validation_scores_, scored.validation_scores_, rtol=1e-12)
    np.testing.assert_array_equal(by_name.coefs_[0], scored.coefs_[0])


def areas(y, p):
    """Of each class that occurs, against the others."""
    return [roc_auc_score(y == c, p[:, c]) for c in np.unique(y)]


SCORES = {
    "neg_log_loss": lambda y, p: np.log(p[np.arange(len(y)), y]).mean(),
    "neg_brier_score": lambda y, p: -((p - np.eye(3)[y]) ** 2).sum(axis=1).mean(),
    "top_k_accuracy": lambda y, p: (p.argsort(axis=1)[:, 1:] == y[:, None]).any(axis=1).mean(),
    "roc_auc_ovr": lambda y, p: np.mean(areas(y, p)),
    "roc_auc_ovr_weighted": lambda y, p: np.average(areas(y, p), weights=np.bincount(y)),
    "roc_auc_ovo": lambda y, p: np.mean(areas(y, p)),  # of the only pair, once as either class
}


@pytest.mark.parametrize("names", [NUMBERS, np.array(["a", "b", "c"])], ids=["numbers", "names"])
@pytest.mark.parametrize("scoring", SCORES)
def test_a_class_that_is_not_held_out_leaves_a_score(scoring, names):
    fitted, X_val, _ = restricted(scoring, names)
    expected = SCORES[scoring](RESTRICTED[1], fitted.predict_proba(X_val))
    assert fitted.best_validation_score_ == pytest.approx(expected)


@pytest.mark.parametrize("own", [{}, {"normalize": False}, {"labels": [0, 1, 2]}], ids=str)
def test_scorers_of_ones_own_get_the_classes_unless_they_have_them(own):
    scorer = make_scorer(log_loss, greater_is_better=False, response_method="predict_proba", **own)
    before = dict(scorer._kwargs)
    fitted, X_val, y_val = restricted(scorer)
    expected = log_loss(y_val, fitted.predict_proba(X_val), **{"labels": [0, 1, 2]} | own)
    assert fitted.best_validation_score_ == pytest.approx(-expected)
    assert scorer._kwargs == before


@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro", "f1_micro", "jaccard_weighted"])
def test_scores_of_predicted_classes_are_those_of_the_scorer(scoring):
    fitted, X_val, y_val = restricted(scoring)
    assert fitted.best_validation_score_ == pytest.approx(get_scorer(scoring)(fitted, X_val, y_val))


@pytest.mark.parametrize(
    ("y", "scorings"),
    [
        (
            CLASS,
            ("neg_log_loss", "neg_brier_score", "roc_auc_ovr", "roc_auc_ovo_weighted", "top_k_accuracy", "f1_macro"),
        ),
        (CLASS > 1, ("neg_log_loss", "neg_brier_score", "roc_auc", "average_precision", "d2_log_loss_score", "f1")),
        (np.array(["no", "yes"])[CLASS // 2], ("neg_log_loss", "roc_auc", "d2_log_loss_score")),
        (LABELS, ("roc_auc", "average_precision", "f1_samples", "accuracy")),
    ],
    ids=["classes", "two classes", "two names", "labels"],
)
def test_with_all_classes_the_score_is_the_scorers(y, scorings):
    for scoring in scorings:
        weights = None if scoring == "roc_auc_ovo_weighted" else np.linspace(1, 2, 30)
        data = {"X_val": X[60:], "y_val": y[60:], "sample_weight_val": weights}
        fitted = MLPClassifier(**SHORT, scoring=scoring).fit(X, y, **data)
        expected = get_scorer(scoring)(fitted, X[60:], y[60:], sample_weight=weights)
        assert fitted.best_validation_score_ == pytest.approx(expected), scoring


@pytest.mark.parametrize("only", [0, 1])
def test_a_single_class_of_two_has_a_loss(only):
    y = np.array(["no", "yes"])[CLASS // 2]
    rows = np.flatnonzero(only == CLASS // 2)
    for scoring, function in (("neg_log_loss", log_loss), ("neg_brier_score", brier_score_loss)):
        fitted = MLPClassifier(**SHORT, scoring=scoring).fit(X, y, X_val=X[rows], y_val=y[rows])
        p = fitted.predict_proba(X[rows])[:, 1]
        options = {"labels": ["no", "yes"]} | ({"pos_label": "yes"} if function is brier_score_loss else {})
        assert fitted.best_validation_score_ == pytest.approx(-function(y[rows], p, **options))


def test_labels_that_never_differ_are_left_out_of_the_area():
    y = LABELS.copy()
    y[60:, 1] = 0
    fitted = MLPClassifier(**SHORT, scoring="roc_auc").fit(X, y, X_val=X[60:], y_val=y[60:])
    p = fitted.predict_proba(X[60:])
    expected = np.mean([roc_auc_score(y[60:, k], p[:, k]) for k in (0, 2)])
    assert fitted.best_validation_score_ == pytest.approx(expected)


def test_two_labels_are_not_two_classes():
    y = LABELS[:, :2]
    for scoring in ("roc_auc", make_scorer(roc_auc_score, response_method="decision_function")):
        fitted = MLPClassifier(**SHORT, scoring=scoring).fit(X, y, X_val=X[60:], y_val=y[60:])
        assert fitted.best_validation_score_ == pytest.approx(roc_auc_score(y[60:], fitted.predict_proba(X[60:])))
        np.testing.assert_array_equal(fitted.classes_, [0, 1])


def test_a_class_without_weight_is_a_class_that_is_not_held_out():
    weights = np.where(RARE == 2, 0.0, 1.0)
    fitted = MLPClassifier(**SHORT, scoring="roc_auc_ovr").fit(X, RARE, X_val=X, y_val=RARE, sample_weight_val=weights)
    p = fitted.predict_proba(X)
    expected = np.mean([roc_auc_score(c == RARE, p[:, c], sample_weight=weights) for c in (0, 1)])
    assert fitted.best_validation_score_ == pytest.approx(expected)


# --- no score -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("scoring", "y", "rows", "message"),
    [
        ("roc_auc", CLASS > 1, CLASS < 2, "roc_auc' has no value on the validation set, where class True does not occ"),
        ("roc_auc_ovr", CLASS, CLASS == 0, "roc_auc_ovr' has .*, where class 1, 2 does not occur: got nan"),
        ("roc_auc_ovo", CLASS, CLASS == 0, "roc_auc_ovo' has .*, where class 1, 2 does not occur: got nan"),
        ("d2_brier_score", CLASS > 1, CLASS < 2, "d2_brier_score' has .* class True does not occur: got -inf"),
        (
            "average_precision",
            CLASS,
            CLASS < 2,
            "average_precision' has .* class 2 does not occur: y should be a 1d ar",
        ),
        ("f1", CLASS, CLASS < 3, "f1' has no value on the validation set: Target is multiclass but average='binary'"),
        ("roc_auc", LABELS, LABELS.all(axis=1), "roc_auc' has .* where label 0, 1, 2 never differs: got nan"),
    ],
)
def test_a_scorer_without_a_value_is_refused_before_the_training(scoring, y, rows, message):
    seen, data = [], {"X_val": X[rows], "y_val": y[rows]}
    estimator = MLPClassifier(**SHORT, scoring=scoring, callbacks=[seen.append])
    before = dict(vars(estimator))
    classes = np.arange(3) if y is LABELS else np.unique(y)
    for call in (estimator.fit, partial(estimator.partial_fit, classes=classes)):
        with pytest.raises(ValueError, match=f"^scoring='{message}"):
            call(X, y, **data)
        assert vars(estimator) == before
        assert not seen


def test_a_score_that_is_never_a_number_is_an_error_and_not_the_initial_weights():
    for value in (np.nan, -np.inf):
        for estimator in (MLPClassifier, MLPRegressor):
            with pytest.raises(ValueError, match=f"must be finite after some epoch, got {value}"):
                estimator(**SHORT, scoring=lambda e, X, y, value=value: value).fit(X, CLASS)


def test_a_score_that_is_not_a_number_is_not_better():
    scores = iter([0.0, np.nan, 0.3, 0.5, *[np.nan] * 99])  # the first is of the initial weights
    weights = []
    estimator = MLPRegressor(
        **STOPPED, scoring=lambda e, X, y: next(scores), callbacks=[lambda s: weights.append(s.model.parameters.copy())]
    ).fit(X, CLASS)
    assert estimator.best_validation_score_ == 0.5
    assert estimator.n_iter_ == 3 + 11
    np.testing.assert_array_equal(estimator.model_.parameters, weights[2])


def test_divergence_in_the_first_epoch_is_an_error_with_early_stopping_too():
    estimator = MLPRegressor(**STOPPED | {"learning_rate_init": 1e300}, solver="sgd", activation="identity")
    before = dict(vars(estimator))
    for call in (estimator.fit, lambda *data: estimator.partial_fit(*data, X_val=X, y_val=CLASS)):
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            call(X * 1e10, CLASS)
        assert vars(estimator) == before


# --- weights --------------------------------------------------------------------------------------------------------


def test_scorers_get_weights_if_they_take_them():
    weights = np.linspace(0.01, 1, 90)

    def accuracy(estimator, X, y):
        return accuracy_score(y, estimator.predict(X))

    def weighted(estimator, X, y, sample_weight=None):
        return accuracy_score(y, estimator.predict(X), sample_weight=sample_weight)

    data = {"X_val": X, "y_val": CLASS, "sample_weight_val": weights}
    for scoring, w in ((accuracy, None), (weighted, weights), ("accuracy", weights), (None, weights)):
        fitted = MLPClassifier(**SHORT, scoring=scoring).fit(X, CLASS, **data)
        assert fitted.best_validation_score_ == pytest.approx(fitted.score(X, CLASS, w))
    for scoring in ("adjusted_rand_score", "neg_max_error"):
        fitted = MLPClassifier(**SHORT, scoring=scoring).fit(X, CLASS, **data)
        assert fitted.best_validation_score_ == pytest.approx(get_scorer(scoring)(fitted, X, CLASS))


def test_rows_of_weight_0_are_absent_also_for_scorers_that_take_no_weights():
    weights = (np.arange(90) % 3 > 0).astype(float)
    there = weights > 0

    def accuracy(estimator, X, y):
        return accuracy_score(y, estimator.predict(X))

    fitted = MLPClassifier(**SHORT, scoring=accuracy).fit(X, CLASS, X_val=X, y_val=CLASS, sample_weight_val=weights)
    assert fitted.best_validation_score_ == pytest.approx(fitted.score(X[there], CLASS[there]))
