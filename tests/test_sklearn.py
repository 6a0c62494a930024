"""The estimators are scikit-learn's: the same steps, attributes, scores, errors and warnings."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")  # with sample weights and the Poisson loss

from scipy.sparse import csr_array, random_array
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp.sklearn as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS, DIGIT = (a[:240] for a in load_digits(return_X_y=True))
DIGITS = DIGITS / 16
DIABETES, PROGRESSION = (a[:240] for a in load_diabetes(return_X_y=True))
DIABETES, PROGRESSION = DIABETES * 20, (PROGRESSION - 150) / 70
SEVERAL = np.c_[PROGRESSION, DIABETES[:, 0] * DIABETES[:, 1]]
MANY, LABELS = make_multilabel_classification(120, n_classes=3, random_state=0)
WEIGHTS = np.random.default_rng(0).uniform(0.5, 2, 240)
SMALL = {"hidden_layer_sizes": (9,), "random_state": 0, "shuffle": False, "batch_size": 60, "max_iter": 8, "alpha": 0}

TASKS = {
    "classes": ("MLPClassifier", DIGITS, DIGIT),
    "two classes": ("MLPClassifier", DIGITS, np.where(DIGIT > 4, "large", "small")),
    "labels": ("MLPClassifier", MANY, LABELS),
    "numbers": ("MLPRegressor", DIABETES, PROGRESSION),
    "several numbers": ("MLPRegressor", DIABETES, SEVERAL),
}


def pair(task, **parameters):
    """Both estimators, fitted."""
    name, X, y = TASKS[task]
    parameters = SMALL | parameters
    return [getattr(module, name)(**parameters).fit(X, y) for module in (ours, theirs)], X, y


def assert_same_weights(a, b, rtol=1e-9):
    for mine, other in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("task", TASKS)
def test_gradient_descent_takes_the_steps_of_scikit_learn(task):
    for parameters in (
        {"momentum": 0.9, "nesterovs_momentum": True, "alpha": 0 if task == "several numbers" else 1.0},
        {"momentum": 0.5, "nesterovs_momentum": False, "learning_rate": "invscaling", "power_t": 0.25},
        {"momentum": 0.9, "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.01, "max_iter": 30},
    ):
        (a, b), X, _ = pair(task, solver="sgd", learning_rate_init=0.1, activation="tanh", **parameters)
        assert_same_weights(a, b)
        np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-9)
        assert (a.n_iter_, a.t_, a.n_layers_, a.n_outputs_, a.out_activation_) == (
            b.n_iter_, b.t_, b.n_layers_, b.n_outputs_, b.out_activation_
        )  # fmt: skip
        np.testing.assert_allclose([a.loss_, a.best_loss_], [b.loss_, b.best_loss_], rtol=1e-9)
        np.testing.assert_array_equal(a.predict(X), b.predict(X)) if hasattr(a, "classes_") else None


@pytest.mark.parametrize("task", TASKS)
def test_adam_takes_nearly_the_same_steps(task):
    """Only ε has another place: fastbp's is the one of the paper's algorithm 1. Here it is too small to matter."""
    (a, b), _, _ = pair(task, activation="logistic", learning_rate_init=0.01, epsilon=1e-14)
    assert_same_weights(a, b, rtol=1e-7)


@pytest.mark.parametrize("task", ["classes", "labels", "numbers"])
def test_lbfgs_minimises_the_same_function(task):
    (a, b), X, y = pair(task, solver="lbfgs", max_iter=6, alpha=0.5)
    assert a.n_iter_ == b.n_iter_
    assert a.loss_ == pytest.approx(b.loss_, rel=1e-6)
    assert_same_weights(a, b, rtol=1e-4)
    assert a.score(X, y) == pytest.approx(b.score(X, y), abs=1e-3)


def test_the_poisson_loss_is_that_of_scikit_learn():
    counts = np.random.default_rng(0).poisson(np.exp(DIABETES[:, :2])).astype(float)
    a, b = (m.MLPRegressor("poisson", **SMALL | {"solver": "sgd"}).fit(DIABETES, counts) for m in (ours, theirs))
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-8)
    np.testing.assert_allclose(a.predict(DIABETES), b.predict(DIABETES), rtol=1e-8)
    assert a.out_activation_ == b.out_activation_ == "exp"
    with pytest.raises(ValueError, match="y must not be negative with loss='poisson'"):
        a.fit(DIABETES, -counts)


def test_early_stopping_holds_out_the_same_rows_and_ends_at_the_same_epoch():
    for task in ("two classes", "classes", "numbers"):
        (a, b), _, _ = pair(
            task, solver="sgd", learning_rate_init=0.2, early_stopping=True, n_iter_no_change=3, max_iter=60
        )
        np.testing.assert_allclose(a.validation_scores_, b.validation_scores_, rtol=1e-7)
        assert a.best_validation_score_ == pytest.approx(b.best_validation_score_)
        assert a.best_loss_ is b.best_loss_ is None
        assert_same_weights(a, b, rtol=1e-7)
        assert len(a.validation_loss_curve_) == a.n_iter_


def test_sample_weights_count_as_scikit_learn_counts_them():
    for task in ("classes", "numbers"):
        name, X, y = TASKS[task]
        parameters = SMALL | {"solver": "sgd", "alpha": 0}
        a, b = (getattr(m, name)(**parameters).fit(X, y, sample_weight=WEIGHTS) for m in (ours, theirs))
        assert_same_weights(a, b)


def test_float32_stays_float32_and_dtype_decides_otherwise():
    for X, dtype, expected in (
        (DIABETES.astype("f4"), None, "f4"),
        (DIABETES, None, "f8"),
        (DIABETES, "float32", "f4"),
        (DIABETES.astype("f4"), np.float64, "f8"),
    ):
        fitted = ours.MLPRegressor(hidden_layer_sizes=(9,), max_iter=2, dtype=dtype).fit(X, PROGRESSION)
        assert fitted.predict(X).dtype == expected
        assert {w.dtype for w in fitted.coefs_ + fitted.intercepts_} == {np.dtype(expected)}
        assert fitted.model_.dtype == expected


def test_one_epoch_at_a_time_ends_in_the_same_bits():
    for task in ("classes", "numbers"):
        name, X, y = TASKS[task]
        whole, parts = (getattr(ours, name)(hidden_layer_sizes=(9,), random_state=3, max_iter=7) for _ in range(2))
        whole.fit(X, y)
        for call in range(7):
            classes = {"classes": np.unique(y)} if call == 0 and name == "MLPClassifier" else {}
            parts.partial_fit(X, y, **classes)
        assert_same_weights(whole, parts, rtol=0)
        assert whole.loss_curve_ == parts.loss_curve_


def test_warm_start_goes_on_and_asks_for_the_same_classes_and_sizes():
    estimator = ours.MLPClassifier((9,), random_state=0, max_iter=5, warm_start=True).fit(DIGITS, DIGIT)
    first = estimator.loss_
    estimator.fit(DIGITS, DIGIT)
    assert estimator.loss_ < first
    assert (estimator.n_iter_, len(estimator.loss_curve_), estimator.t_) == (5, 10, 10 * len(DIGITS))
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        estimator.fit(DIGITS, DIGIT % 9)
    with pytest.raises(ValueError, match=r"\(64, 9, 10\).*\(64, 4, 10\).*warm_start=False"):
        estimator.set_params(hidden_layer_sizes=(4,)).fit(DIGITS, DIGIT)


def test_partial_fit_knows_its_classes():
    estimator = ours.MLPClassifier((4,))
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        estimator.partial_fit(DIGITS, DIGIT)
    estimator.partial_fit(DIGITS[:20], DIGIT[:20], classes=np.arange(12))
    assert estimator.predict_proba(DIGITS).shape == (240, 12)
    with pytest.raises(ValueError, match="not the same as on last call"):
        estimator.partial_fit(DIGITS, DIGIT, classes=np.arange(3))
    with pytest.raises(ValueError, match=r"classes not in `self\.classes_`"):
        estimator.partial_fit(DIGITS, DIGIT + 5)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        ours.MLPClassifier(early_stopping=True).partial_fit(DIGITS, DIGIT, classes=np.arange(10))
    assert not hasattr(ours.MLPClassifier(solver="lbfgs"), "partial_fit")


def test_weights_can_be_assigned_and_changed_in_place():
    estimator = ours.MLPRegressor(hidden_layer_sizes=(9,), max_iter=2, random_state=0).fit(DIABETES, PROGRESSION)
    before = estimator.predict(DIABETES)
    estimator.intercepts_[-1] = estimator.intercepts_[-1] + 1
    np.testing.assert_allclose(estimator.predict(DIABETES), before + 1)
    estimator.intercepts_[-1] += 1
    np.testing.assert_allclose(estimator.predict(DIABETES), before + 2)
    assert np.shares_memory(estimator.intercepts_[-1], estimator.model_.parameters)
    estimator.coefs_ = [np.zeros((10, 3)), np.zeros((3, 1))]
    estimator.intercepts_ = [np.zeros(3), np.array([7.0])]
    assert (estimator.predict(DIABETES) == 7).all()
    assert estimator.model_.network.sizes == (10, 3, 1)


def test_a_call_that_raises_leaves_the_estimator_as_it_was():
    fitted = ours.MLPRegressor(hidden_layer_sizes=(9,), solver="sgd", max_iter=3, random_state=0).fit(
        DIABETES, PROGRESSION
    )
    state, prediction = pickle.dumps(fitted), fitted.predict(DIABETES)

    def failing(**parameters):
        return clone(fitted).set_params(**parameters)

    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        fitted.fit(DIABETES * 1e200, PROGRESSION)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        fitted.partial_fit(DIABETES * 1e200, PROGRESSION)
    with pytest.raises(ValueError, match="features"):
        fitted.partial_fit(DIABETES[:, :4], PROGRESSION)
    assert pickle.dumps(fitted) == state
    np.testing.assert_array_equal(fitted.predict(DIABETES), prediction)

    for broken, X in (
        (failing(hidden_layer_sizes=(0,)), DIABETES),
        (failing(alpha=-1), DIABETES),
        (failing(learning_rate_init=1e9, activation="identity"), DIABETES * 1e100),
        (failing(initial=([np.zeros((3, 9))], [np.zeros(9)])), DIABETES),
    ):
        before = dict(vars(broken))
        with pytest.raises(ValueError):
            broken.fit(X, PROGRESSION)
        assert vars(broken) == before
        with pytest.raises(NotFittedError):
            broken.predict(X)


def test_divergence_with_early_stopping_keeps_the_best_weights():
    estimator = ours.MLPRegressor(
        hidden_layer_sizes=(9,),
        activation="identity",
        solver="sgd",
        learning_rate_init=5,
        early_stopping=True,
        random_state=0,
    ).fit(DIABETES, PROGRESSION)
    assert np.isnan(estimator.validation_scores_[-1])
    assert np.isfinite(estimator.predict(DIABETES)).all()


def test_pickles_and_clones_are_the_same_estimator():
    fitted = ours.MLPClassifier((9,), solver="sgd", max_iter=3, random_state=0).fit(DIGITS, DIGIT)
    restored = pickle.loads(pickle.dumps(fitted))
    assert_same_weights(restored, fitted, rtol=0)
    assert np.shares_memory(restored.coefs_[0], restored.model_.parameters)
    assert_same_weights(restored.partial_fit(DIGITS, DIGIT), fitted.partial_fit(DIGITS, DIGIT), rtol=0)
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "coefs_")


def test_every_parameter_of_scikit_learn_is_there_with_its_default():
    for name in ("MLPClassifier", "MLPRegressor"):
        mine, other = (getattr(module, name)().get_params() for module in (ours, theirs))
        assert {key: mine[key] for key in other} == other


def test_warnings_and_errors_are_those_of_scikit_learn():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        ours.MLPClassifier((4,), max_iter=2).fit(DIGITS, DIGIT)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 2 iteration"):
        ours.MLPClassifier((4,), solver="lbfgs", max_iter=2).fit(DIGITS, DIGIT)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours.MLPClassifier((4,), max_iter=2, batch_size=1000).fit(DIGITS, DIGIT)
    assert any("Got `batch_size` less than 1 or larger than sample size" in str(w.message) for w in caught)
    for parameters, message in (
        ({"alpha": -1}, "The 'alpha' parameter of MLPClassifier must be a float in the range"),
        ({"solver": "newton"}, "The 'solver' parameter of MLPClassifier must be a str among"),
        ({"activation": "step"}, "The 'activation' parameter of MLPClassifier must be a str among"),
        ({"hidden_layer_sizes": (3, -1)}, "hidden_layer_sizes must be > 0, got"),
        ({"activation": ["relu"], "hidden_layer_sizes": (3, 3)}, "one for each of the 2 hidden layers, got 1"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, got 'float16'"),
    ):
        with pytest.raises(ValueError, match=message):
            ours.MLPClassifier(**parameters).fit(DIGITS, DIGIT)
    with pytest.raises(ValueError, match="The validation set is too small"):
        ours.MLPRegressor(early_stopping=True).fit(DIABETES[:2], PROGRESSION[:2])


def test_verbose_prints_the_lines_of_scikit_learn(capsys):
    pair("classes", solver="sgd", verbose=True, early_stopping=True, max_iter=3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == lines[6:]
    assert lines[0].startswith("Iteration 1, loss = ")
    assert lines[1].startswith("Validation score: ")


def test_it_works_in_pipelines_and_searches():
    pipeline = make_pipeline(
        StandardScaler(), ours.MLPClassifier((9,), learning_rate_init=0.05, max_iter=30, random_state=0)
    )
    assert cross_val_score(pipeline, DIGITS, DIGIT, cv=3).mean() > 0.6
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e3]}, cv=2).fit(DIGITS, DIGIT)
    assert search.best_params_ == {"mlpclassifier__alpha": 1e-4}


@pytest.mark.parametrize("task", TASKS)
def test_conversion_keeps_predictions_both_ways(task):
    (a, b), X, y = pair(task, activation="tanh")
    for original, estimator in ((a, a.to_sklearn()), (b, ours.from_sklearn(b)), (a, ours.from_sklearn(a.to_sklearn()))):
        assert estimator.get_params().items() >= b.get_params().items()
        if hasattr(a, "classes_"):
            np.testing.assert_array_equal(estimator.predict(X), original.predict(X))
            np.testing.assert_allclose(estimator.predict_proba(X), original.predict_proba(X), rtol=1e-10)
        else:
            np.testing.assert_allclose(estimator.predict(X), original.predict(X), rtol=1e-10)
        estimator.partial_fit(X, y)  # it can learn on
    assert not hasattr(ours.from_sklearn(theirs.MLPClassifier()), "coefs_")


def test_conversion_says_what_cannot_be_converted():
    with pytest.raises(TypeError, match="estimator must be scikit-learn's MLPClassifier or MLPRegressor, got"):
        ours.from_sklearn(StandardScaler())
    with pytest.raises(ValueError, match="scikit-learn has one activation of identity, logistic, tanh, relu"):
        ours.MLPRegressor(hidden_layer_sizes=(3, 3), activation=["relu", "tanh"]).to_sklearn()


def test_sparse_rows_are_dense_rows():
    for task in ("two classes", "numbers"):
        name, X, y = TASKS[task]
        for solver in ("adam", "lbfgs"):
            dense, sparse = (
                getattr(ours, name)(hidden_layer_sizes=(9,), solver=solver, max_iter=4, random_state=0).fit(data, y)
                for data in (X, csr_array(X))
            )
            assert_same_weights(dense, sparse, rtol=0)
            np.testing.assert_array_equal(dense.predict(X), sparse.predict(csr_array(X)))


def test_a_sparse_matrix_is_never_dense_as_a_whole():
    rows, columns = 3000, 3000
    X = random_array((rows, columns), density=0.002, format="csr", rng=np.random.default_rng(0))
    y = np.arange(rows) % 3
    for parameters in ({"early_stopping": True}, {"solver": "lbfgs"}):
        ours.MLPClassifier((4,), max_iter=1, random_state=0, **parameters).fit(X[:300], y[:300])  # loads kernels
        tracemalloc.start()
        ours.MLPClassifier((4,), max_iter=1, random_state=0, **parameters).fit(X, y).predict(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.8 * 8 * rows * columns
