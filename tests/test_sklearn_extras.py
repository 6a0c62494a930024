"""What the estimators have beyond scikit-learn's."""

import os
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

import custom_functions
import joblib
import pandas
import sklearn
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

import fastbp
from fastbp.engine.thread_limit import joblib_share, limited, threads_here
from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS, DIGIT = (a[:240] for a in load_digits(return_X_y=True))
DIGITS = DIGITS / 16
DIABETES, PROGRESSION = (a[:240] for a in load_diabetes(return_X_y=True))
DIABETES, PROGRESSION = DIABETES * 20, (PROGRESSION - 150) / 70
MANY, LABELS = make_multilabel_classification(120, n_classes=3, random_state=0)
NUMBERS = {"hidden_layer_sizes": (9,), "random_state": 0, "learning_rate_init": 0.01, "max_iter": 30, "batch_size": 60}
CLASSES = NUMBERS | {"activation": "tanh"}


def same(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


# --- weights of classes ---------------------------------------------------------------------------------------------


def test_class_weights_are_sample_weights():
    for X, y, weight in (
        (DIGITS, DIGIT, "balanced"),
        (DIGITS, DIGIT, {d: 1.0 + d for d in range(10)}),
        (MANY, LABELS, "balanced"),
        (MANY, LABELS, [{0: 1, 1: 2}, {0: 3, 1: 1}, {0: 1, 1: 1}]),
    ):
        weighted = MLPClassifier(**CLASSES, class_weight=weight).fit(X, y)
        expected = MLPClassifier(**CLASSES).fit(X, y, sample_weight=compute_sample_weight(weight, y))
        np.testing.assert_allclose(weighted.coefs_[0], expected.coefs_[0], rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="class_weight must be 'balanced' or a dict, for 3 labels a list of one dict"):
        MLPClassifier(class_weight={0: 1}).fit(MANY, LABELS)


def test_balanced_weights_of_partial_fit_count_all_examples_so_far():
    parts = MLPClassifier(**CLASSES, class_weight="balanced")
    for begin, end in ((0, 100), (100, 240)):
        parts.partial_fit(DIGITS[begin:end], DIGIT[begin:end], classes=np.arange(10))
    expected = MLPClassifier(**CLASSES)
    expected.partial_fit(DIGITS[:100], DIGIT[:100], compute_sample_weight("balanced", DIGIT[:100]), np.arange(10))
    expected.partial_fit(DIGITS[100:], DIGIT[100:], compute_sample_weight("balanced", DIGIT)[100:])
    np.testing.assert_allclose(parts.coefs_[0], expected.coefs_[0], rtol=1e-9, atol=1e-12)


# --- networks -------------------------------------------------------------------------------------------------------


def test_every_layer_may_have_an_activation_of_its_own():
    mixed = MLPRegressor(**NUMBERS | {"hidden_layer_sizes": (5, 4, 3)}, activation=["gelu", "logistic", "tanh"])
    assert mixed.fit(DIABETES, PROGRESSION).model_.network.hidden == ("gelu", "sigmoid", "tanh")
    assert mixed.score(DIABETES, PROGRESSION) > 0


def test_initial_weights_may_be_given():
    rng = np.random.default_rng(0)
    coefs, intercepts = [rng.normal(size=(10, 9)), rng.normal(size=(9, 1))], [rng.normal(size=9), np.zeros(1)]
    estimator = MLPRegressor(**NUMBERS | {"learning_rate_init": 1e-12, "max_iter": 1}, initial=(coefs, intercepts))
    estimator.fit(DIABETES, PROGRESSION)
    np.testing.assert_allclose(estimator.coefs_[0], coefs[0], atol=1e-10)
    assert clone(estimator).initial is not None
    np.testing.assert_array_equal(coefs[0], estimator.initial[0][0])
    for wrong, message in (
        (([coefs[0]], intercepts), "must be those of 2 layers, got 1 arrays of coefficients and 2 of intercepts"),
        (([coefs[0].T, coefs[1]], intercepts), r"coefs\[0\] must have shape \(10, 9\), got shape \(9, 10\)"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.set_params(initial=wrong).fit(DIABETES, PROGRESSION)
    zeros = estimator.set_params(initial="zeros").fit(DIABETES, PROGRESSION)
    assert abs(zeros.coefs_[0]).max() < 1e-9


def test_decision_function_is_the_output_before_its_activation():
    binary = MLPClassifier(**CLASSES).fit(DIGITS, DIGIT > 4)
    z = binary.decision_function(DIGITS)
    np.testing.assert_allclose(1 / (1 + np.exp(-z)), binary.predict_proba(DIGITS)[:, 1])
    many = MLPClassifier(**CLASSES).fit(DIGITS, DIGIT)
    z = np.exp(many.decision_function(DIGITS))
    np.testing.assert_allclose(z / z.sum(axis=1, keepdims=True), many.predict_proba(DIGITS))
    labels = MLPClassifier(**CLASSES).fit(MANY, LABELS)
    np.testing.assert_allclose(1 / (1 + np.exp(-labels.decision_function(MANY))), labels.predict_proba(MANY))
    np.testing.assert_array_equal(labels.decision_function(MANY) > 0, labels.predict(MANY))
    np.testing.assert_array_equal(binary.decision_function(DIGITS) > 0, binary.predict(DIGITS))


class Probabilities(MLPClassifier):
    decision_function = None


def test_calibration_takes_the_decision_function_and_of_a_subclass_without_it_the_probabilities():
    for y in (DIGIT > 4, DIGIT):
        for kind, outputs in ((MLPClassifier, "decision_function"), (Probabilities, "predict_proba")):
            fitted = kind(**CLASSES).fit(DIGITS, y)
            (calibrated,) = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(DIGITS, y).calibrated_classifiers_
            columns = getattr(fitted, outputs)(DIGITS)
            columns = columns if y is DIGIT else columns.reshape(240, -1)[:, -1:]
            expected = np.transpose([c.predict(z) for c, z in zip(calibrated.calibrators, columns.T, strict=True)])
            expected = expected / expected.sum(axis=1, keepdims=True) if y is DIGIT else expected
            found = calibrated.predict_proba(DIGITS)
            np.testing.assert_allclose(found if y is DIGIT else found[:, 1:], expected)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_input_gradient_is_the_slope_of_the_outputs(activation):
    parameters = NUMBERS | {"activation": activation, "max_iter": 3, "hidden_layer_sizes": (6, 5)}
    several = np.c_[PROGRESSION, -PROGRESSION]
    for estimator, X, y, outputs in (
        (MLPRegressor(**parameters), DIABETES, PROGRESSION, "predict"),
        (MLPRegressor(**parameters), DIABETES, several, "predict"),
        (MLPRegressor(**parameters, loss="poisson"), DIABETES, PROGRESSION + 3, "predict"),
        (MLPClassifier(**parameters), DIGITS, DIGIT, "predict_proba"),
        (MLPClassifier(**parameters), MANY / 10, LABELS, "predict_proba"),
    ):
        estimator.fit(X, y)
        gradient, h = estimator.input_gradient(X[:7]), 1e-6
        for k in (0, 3, X.shape[1] - 1):
            step = np.zeros(X.shape[1])
            step[k] = h
            f = getattr(estimator, outputs)
            slope = (f(X[:7] + step) - f(X[:7] - step)) / (2 * h)
            np.testing.assert_allclose(gradient[..., k], slope, rtol=1e-6, atol=1e-8)


# --- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "of"),
    [
        ("absolute_error", lambda e: abs(e)),
        ("huber", lambda e: np.where(abs(e) <= 1, e * e / 2, abs(e) - 0.5)),
        (fastbp.Huber(0.3), lambda e: np.where(abs(e) <= 0.3, e * e / 2, 0.3 * (abs(e) - 0.15))),
        (fastbp.Quantile(0.8), lambda e: np.where(e < 0, -0.8 * e, 0.2 * e)),
    ],
)
def test_gradient_and_reported_loss_agree_for_several_outputs(loss, of):
    """One step of gradient descent without momentum is -η times the slope of loss_."""
    y = np.c_[PROGRESSION, DIABETES[:, 1], PROGRESSION**2]
    parameters = NUMBERS | {"max_iter": 1, "batch_size": len(y), "alpha": 0.7, "activation": "tanh"}
    estimator = MLPRegressor(loss, **parameters, solver="sgd", momentum=0, initial="glorot_uniform").fit(DIABETES, y)
    start = clone(estimator).set_params(learning_rate_init=1e-300).fit(DIABETES, y)
    n = len(y)

    def cost():
        error = of(start.predict(DIABETES) - y).sum() / n
        return error + 0.35 / n * sum((w**2).sum() for w in start.coefs_)

    assert estimator.loss_ == pytest.approx(cost(), rel=1e-12)
    for layer, index in ((0, (2, 3)), (1, (4, 2)), (1, (0, 0))):
        w, h = start.coefs_[layer], 1e-6
        step = (estimator.coefs_[layer][index] - w[index]) / -0.01
        w[index] += h
        above = cost()
        w[index] -= 2 * h
        below = cost()
        w[index] += h
        assert step == pytest.approx((above - below) / (2 * h), rel=1e-3, abs=1e-5)


def test_quantiles_have_their_share_of_the_targets_below():
    for q in (0.1, 0.5, 0.9):
        loss = "quantile" if q == 0.5 else fastbp.Quantile(q)
        fitted = MLPRegressor(loss, **NUMBERS | {"max_iter": 200}, n_iter_no_change=50).fit(DIABETES, PROGRESSION)
        assert (fitted.predict(DIABETES) >= PROGRESSION).mean() == pytest.approx(q, abs=0.06)


# --- optimizers -----------------------------------------------------------------------------------------------------


def test_optimizers_and_schedules_go_by_name_or_object():
    for parameters, expected in (
        ({"solver": "adamw"}, fastbp.AdamW(0.01)),
        ({"solver": "rprop", "batch_size": "auto"}, fastbp.Rprop(0.01)),
        ({"solver": fastbp.RMSprop(0.003, rho=0.8)}, fastbp.RMSprop(0.003, rho=0.8)),
        ({"solver": "adam", "learning_rate": "cosine"}, fastbp.Adam(fastbp.schedules.Cosine(0.01, steps=30 * 4))),
        (
            {"solver": "sgd", "learning_rate": fastbp.schedules.OneCycle(0.1, steps=120)},
            fastbp.SGD(fastbp.schedules.OneCycle(0.1, steps=120), 0.9, nesterov=True),
        ),
    ):
        estimator = MLPRegressor(**NUMBERS | parameters).fit(DIABETES, PROGRESSION)
        assert estimator.model_.optimizer == expected
        assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
        assert same(pickle.loads(pickle.dumps(estimator)), estimator)


def test_dropout_is_reproducible_and_only_for_training():
    parameters = NUMBERS | {"hidden_layer_sizes": (9, 8), "random_state": 5}
    first, second, none = (
        MLPRegressor(**parameters, dropout=share).fit(DIABETES, PROGRESSION) for share in ((0.5, 0.2), (0.5, 0.2), 0)
    )
    assert same(first, second)
    assert not same(first, none)
    np.testing.assert_array_equal(first.predict(DIABETES), first.predict(DIABETES))
    with pytest.raises(ValueError, match=r"dropout must be 0 with solver='lbfgs', got 0\.5"):
        MLPRegressor(solver="lbfgs", dropout=0.5).fit(DIABETES, PROGRESSION)


def test_results_are_the_same_bits_for_any_number_of_threads():
    X, y = np.tile(DIGITS, (3, 3)), np.tile(DIGIT, 3)
    for solver in ("adam", "lbfgs"):
        one, two = (
            MLPClassifier((64,), solver=solver, max_iter=2, random_state=0, n_threads=n).fit(X, y) for n in (1, 2)
        )
        assert same(one, two)


# --- validation and early stopping ----------------------------------------------------------------------------------


def test_a_given_validation_set_is_judged_after_each_epoch():
    train, held_out = slice(0, 160), slice(160, 240)
    data = {"X_val": DIABETES[held_out], "y_val": PROGRESSION[held_out]}
    plain = MLPRegressor(**NUMBERS, alpha=0).fit(DIABETES[train], PROGRESSION[train], **data)
    assert len(plain.validation_loss_curve_) == plain.n_iter_ == len(plain.loss_curve_)
    errors = plain.predict(DIABETES[held_out]) - PROGRESSION[held_out]
    assert plain.validation_loss_curve_[-1] == pytest.approx((errors**2).mean() / 2)
    assert plain.validation_scores_ is None

    for scoring, score in (
        (None, lambda e: e.score(*data.values())),
        ("loss", lambda e: -min(e.validation_loss_curve_)),
        ("neg_mean_absolute_error", lambda e: -mean_absolute_error(data["y_val"], e.predict(data["X_val"]))),
        (make_scorer(mean_absolute_error, greater_is_better=False), lambda e: e.best_validation_score_),
    ):
        stopped = MLPRegressor(
            **NUMBERS | {"max_iter": 400, "hidden_layer_sizes": (60,)}, early_stopping=True, scoring=scoring
        ).fit(DIABETES[train], PROGRESSION[train], **data)
        assert stopped.n_iter_ < 400
        assert stopped.best_validation_score_ == pytest.approx(max(stopped.validation_scores_))
        assert stopped.best_validation_score_ == pytest.approx(score(stopped))
        assert len(stopped.validation_scores_) == len(stopped.validation_loss_curve_) == stopped.n_iter_


def test_partial_fit_stops_early_on_a_given_validation_set():
    data = {"X_val": DIGITS[160:], "y_val": DIGIT[160:]}
    estimator = MLPClassifier((30,), random_state=0, learning_rate_init=0.02, early_stopping=True, n_iter_no_change=5)
    calls = 0
    while calls == 0 or not estimator.stopped_:
        estimator.partial_fit(DIGITS[:160], DIGIT[:160], classes=np.arange(10), **data)
        calls += 1
        assert calls < 200
    assert estimator.score(*data.values()) == estimator.best_validation_score_ == max(estimator.validation_scores_)
    assert len(estimator.validation_scores_) == calls > 6


def test_ctrl_c_keeps_what_is_learned():
    def interrupt(state):
        if state.epoch == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        estimator = MLPRegressor(**NUMBERS, callbacks=[interrupt]).fit(DIABETES, PROGRESSION)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 3
    assert np.isfinite(estimator.predict(DIABETES)).all()


def test_validation_sets_have_the_columns_and_outputs_of_the_data():
    frame = pandas.DataFrame(DIABETES, columns=[f"column {k}" for k in range(10)])
    estimator = MLPRegressor(**NUMBERS, early_stopping=True, scoring="r2")  # a scorer, which predicts by itself
    estimator.fit(frame[:160], PROGRESSION[:160], X_val=frame[160:], y_val=PROGRESSION[160:])
    assert list(estimator.feature_names_in_) == list(frame.columns)
    for X, y, message in (
        (frame[160:].rename(columns=str.upper), PROGRESSION[160:], "feature names should match"),
        (frame[160:], np.c_[PROGRESSION, PROGRESSION][160:], "y_val must have 1 outputs, as y, got 2"),
        (frame[160:], None, "X_val and y_val must be given together"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.fit(frame[:160], PROGRESSION[:160], X_val=X, y_val=y)
    classifier = MLPClassifier(**CLASSES, warm_start=True).fit(DIGITS, DIGIT)
    classifier.fit(DIGITS, DIGIT, X_val=DIGITS[:3], y_val=DIGIT[:3], sample_weight_val=[1, 2, 3])  # not all classes
    with pytest.raises(ValueError, match="`y` has classes not in"):
        classifier.fit(DIGITS, DIGIT, X_val=DIGITS[:3], y_val=[0, 1, 77])


def test_validation_sets_are_routed_through_pipelines():
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = MLPRegressor(**NUMBERS).set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("fit", estimator)], transform_input=["X_val"])
        pipeline.fit(DIABETES[:160], PROGRESSION[:160], X_val=DIABETES[160:], y_val=PROGRESSION[160:])
    assert len(pipeline[-1].validation_loss_curve_) == 30


def test_verbose_progress_is_a_bar(capsys):
    MLPRegressor(**NUMBERS, verbose="progress").fit(DIABETES, PROGRESSION)
    out, err = capsys.readouterr()
    assert not out
    assert "30/30" in err
    assert "cost=" in err


# --- callbacks ------------------------------------------------------------------------------------------------------


class Recorder:
    """A callback as scikit-learn's interface has them; stops at an epoch."""

    def __init__(self, stop_at):
        self.stop_at, self.events, self.scores = stop_at, [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.scores.append(fitted_estimator.score(X, y))
        self.events.append(f"end {context.task_name}")
        return len(self.scores) == self.stop_at


@pytest.mark.skipif(not hasattr(MLPRegressor, "set_callbacks"), reason="scikit-learn before 1.9 has no callbacks")
def test_callbacks_of_scikit_learn_are_told_and_may_stop():
    for solver, task in (("adam", "epoch"), ("lbfgs", "lbfgs-iter")):
        recorder = Recorder(stop_at=3)
        estimator = MLPRegressor(**NUMBERS | {"solver": solver}).set_callbacks(recorder).fit(DIABETES, PROGRESSION)
        steps = [f"begin {task}", f"end {task}"] * 3
        assert recorder.events == ["setup", "begin fit", *steps, "end fit", "teardown"]
        assert estimator.n_iter_ == 3
        assert recorder.scores[-1] == recorder.scores[-2] == estimator.score(DIABETES, PROGRESSION)
        assert len(set(recorder.scores)) == 3


def test_functions_of_the_state_are_called_after_each_epoch_and_may_stop():
    for solver in ("adam", "lbfgs"):
        seen = []

        def note(state, seen=seen):
            seen.append((state.epoch, state.cost, state.validation_cost, state.model.parameters.copy()))
            return state.epoch == 4

        estimator = MLPRegressor(**NUMBERS | {"solver": solver}, callbacks=[note])
        estimator.fit(DIABETES, PROGRESSION, X_val=DIABETES[:50], y_val=PROGRESSION[:50])
        assert [epoch for epoch, *_ in seen] == [1, 2, 3, 4]
        assert estimator.n_iter_ == 4
        assert [validation for _, _, validation, _ in seen] == estimator.validation_loss_curve_
        assert seen[-1][1] == estimator.loss_ < seen[0][1]
        np.testing.assert_array_equal(seen[-1][3], estimator.model_.parameters)
    stopping = fastbp.EarlyStopping(patience=2, monitor="cost", min_delta=1e6)
    estimator = MLPRegressor(**NUMBERS, callbacks=[stopping]).fit(DIABETES, PROGRESSION)
    assert estimator.n_iter_ == 3
    with pytest.raises(TypeError, match="callbacks must hold functions of the state or Callback objects, got 3"):
        MLPRegressor(callbacks=[3]).fit(DIABETES, PROGRESSION)


# --- cores ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_workers_of_joblib_use_their_share_of_the_cores_and_find_the_same():
    assert joblib_share() is None
    assert threads_here() > 1
    for backend in ("threading", "loky"):
        shares = joblib.Parallel(n_jobs=2, backend=backend)(
            joblib.delayed(custom_functions.share_here)(i) for i in range(2)
        )
        assert shares == [(max(1, joblib.cpu_count() // 2) if backend == "loky" else 1,) * 2] * 2
    assert limited(1, threads_here) == 1
    searches = [
        GridSearchCV(MLPRegressor(**NUMBERS), {"alpha": [1e-4, 10.0]}, cv=2, n_jobs=jobs).fit(DIABETES, PROGRESSION)
        for jobs in (1, 2)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_array_equal(*scores)
    get_reusable_executor().shutdown(wait=True)
