"""Scaling belongs to the model: raw units outside, the standardized network inside, one arithmetic everywhere."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse
from numba import njit

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor

SIZES = (5, 16, 2)


def table(rows=600, seed=0, dtype="float64"):
    """Inputs and targets whose columns have very different units; input 2 is constant."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 5)) * [1, 10, 0, 1e3, 0.1] + [5, 0, 7, 1e4, 3]
    y = (X - X.mean(0)) / [1, 10, 1, 1e3, 0.1] @ rng.normal(size=(5, 2)) * [100, 5] + [1000, 2]
    return X.astype(dtype), y.astype(dtype)


def pair(kind, X, y, dtype="float64", sizes=SIZES, **options):
    """A model that standardizes, fitted, and a plain one fitted to the data that it standardized."""
    fit = {"epochs": 3} | options
    model = fastbp.Model(sizes, "tanh", dtype=dtype, standardize=kind)
    history = model.fit(X, y, **fit)
    plain = fastbp.Model(sizes, "tanh", dtype=dtype)
    scaled = model.scaling.inputs(X), model.scaling.targets(y)
    assert plain.fit(*scaled, **fit).cost.tolist() == history.cost.tolist()
    return model, plain, scaled


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["inputs", "both"])
@pytest.mark.parametrize(
    ("batch", "shuffle", "threads"), [(32, True, 1), (3, False, 2), (600, False, 1), (600, True, 3)]
)
def test_all_is_bit_identical_to_a_plain_network_on_standardized_data(dtype, kind, batch, shuffle, threads):
    X, y = table(dtype=dtype)
    options = {"batch_size": batch, "shuffle": shuffle, "n_threads": threads}
    model, plain, scaled = pair(kind, X, y, dtype, **options)
    np.testing.assert_array_equal(model.parameters, plain.parameters)
    outputs, scaling = plain.predict(scaled[0]), model.scaling
    if kind == "both":
        outputs = outputs * scaling.output_scale.astype(dtype) + scaling.output_mean.astype(dtype)
    np.testing.assert_array_equal(model.predict(X), outputs)
    np.testing.assert_array_equal(model.predict(X[:1]), outputs[:1])
    assert model.evaluate(X, y) == plain.evaluate(*scaled)
    for one, other in zip(model.value_and_gradient(X, y), plain.value_and_gradient(*scaled), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(model.forward(X).z, plain.forward(scaled[0]).z, strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.step(X[:9], y[:9]) == plain.step(scaled[0][:9], scaled[1][:9])
    np.testing.assert_array_equal(model.parameters, plain.parameters)
    assert model.check_gradient(X[:5], y[:5])


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_first_layer_that_is_summed_in_halves_takes_standardized_inputs(shuffle):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 700)) * 50 + 20, rng.normal(size=(64, 1))
    model, plain, _ = pair("both", X, y, sizes=(700, 100, 1), batch_size=32, shuffle=shuffle, n_threads=2)
    np.testing.assert_array_equal(model.parameters, plain.parameters)


def test_statistics_are_those_of_the_weighted_training_rows():
    X, y = table()
    weights = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    model = fastbp.Model(SIZES, standardize="both", dtype="float64")
    model.fit(X, y, 1, sample_weight=weights)
    for values, mean, scale in ((X, "mean", "scale"), (y, "output_mean", "output_scale")):
        average = np.average(values, axis=0, weights=weights)
        deviation = np.sqrt(np.average((values - average) ** 2, axis=0, weights=weights))
        deviation[deviation < 1e-9] = 1
        np.testing.assert_allclose(getattr(model.scaling, mean), average, rtol=1e-12)
        np.testing.assert_allclose(getattr(model.scaling, scale), deviation, rtol=1e-9)
    assert model.scaling.scale[2] == 1  # of the constant input


def test_held_out_rows_do_not_count():
    X, y = table(40)
    model = fastbp.Model(SIZES, standardize="inputs", dtype="float64")
    model.fit(X, y, 1, validation_data=(X + 1e6, y))
    np.testing.assert_allclose(model.scaling.mean, X.mean(0))
    shared = fastbp.Model(SIZES, standardize="inputs", dtype="float64")
    shared.fit(X, y, 1, validation_fraction=0.25)
    assert not np.allclose(shared.scaling.mean[:2], X.mean(0)[:2], rtol=1e-6)


def test_sparse_inputs_are_not_centred():
    X, y = table(50)
    X[X < 0.5] = 0
    model = fastbp.Model(SIZES, standardize="inputs", dtype="float64")
    model.fit(scipy.sparse.csr_array(X), y, 1)
    assert not model.scaling.mean.any()
    np.testing.assert_allclose(model.scaling.scale[:2], X.std(0)[:2])
    np.testing.assert_array_equal(model.predict(scipy.sparse.csr_array(X)), model.predict(X))


@pytest.mark.parametrize("kind", ["inputs", "both"])
def test_the_scaling_is_kept_in_files_and_pickles_and_by_later_fits(kind, tmp_path):
    X, y = table()
    model = fastbp.Model(SIZES, standardize=kind)
    model.fit(X, y, 1, checkpoint=tmp_path / "run")
    model.save(tmp_path / "model")
    for copy in (
        fastbp.Model.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), fastbp.Model.resume(tmp_path / "run"),
    ):  # fmt: skip
        assert copy.scaling == model.scaling
        np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    before = model.scaling
    model.fit(X[:50] + 3, y[:50], 1)
    assert model.scaling == before
    model.scaling = None
    model.fit(X[:50] + 3, y[:50], 1)
    np.testing.assert_allclose(model.scaling.mean, (X[:50] + 3).astype("float32").mean(0, dtype=float), rtol=1e-6)


def test_given_statistics_serve_at_once():
    X, y = table(20)
    scaling = fastbp.Scaling(X.mean(0), np.ones(5))
    model = fastbp.Model(SIZES, standardize=scaling, dtype="float64")
    np.testing.assert_array_equal(
        model.predict(X), fastbp.Model(SIZES, dtype="float64").predict((X - scaling.mean) * 1.0)
    )
    model.fit(X, y, 1)
    assert model.scaling is scaling


def test_learn_scaling_is_what_the_first_fit_does():
    X, y = table()
    weights = np.random.default_rng(1).random(len(X))
    model, fitted = (fastbp.Model(SIZES, standardize="both") for _ in range(2))
    fitted.fit(X, y, 1, sample_weight=weights)
    assert model.learn_scaling(X, y, weights) == fitted.scaling == model.scaling
    model.step(X[:10], y[:10])
    with pytest.raises(ValueError, match="y must be given"):
        model.learn_scaling(X)
    with pytest.raises(ValueError, match="needs a model with standardize"):
        fastbp.Model(SIZES).learn_scaling(X)


def test_estimators_standardize_and_scikit_learn_gets_the_scaling_within_the_weights():
    from sklearn.datasets import load_diabetes, load_wine

    X, y = load_wine(return_X_y=True)
    parameters = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 500, "dtype": "float64"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence
        for solver in ("adam", "lbfgs"):
            raw = MLPClassifier(solver=solver, **parameters).fit(X[::2], y[::2])
            scaled = MLPClassifier(solver=solver, standardize="inputs", **parameters).fit(X[::2], y[::2])
            assert scaled.score(X[1::2], y[1::2]) > max(0.92, raw.score(X[1::2], y[1::2]))
            np.testing.assert_allclose(scaled.to_sklearn().predict_proba(X), scaled.predict_proba(X), atol=1e-9)
        X, y = load_diabetes(return_X_y=True, scaled=False)
        regressor = MLPRegressor(standardize="both", alpha=0.01, **parameters).fit(X, y)
        assert regressor.score(X, y) > 0.4
        np.testing.assert_allclose(regressor.to_sklearn().predict(X), regressor.predict(X), rtol=1e-9)
        again = MLPRegressor(standardize="both", warm_start=True, **parameters).fit(X, y)
        scaling = again.model_.scaling
        assert again.fit(X + 1, y).model_.scaling == scaling
        with pytest.raises(ValueError, match="standardize='both' is for the losses"):
            MLPClassifier(standardize="both").fit(X, y > 100)


def test_compiled_code_has_the_bits_of_numpy():
    X, y = table()
    model = fastbp.Model(SIZES, "tanh", standardize="both", dtype="float64")
    model.fit(X, y, 1)
    net, work = model.compiled(), model.workspace(len(X))

    @njit
    def call(net, theta, X, y, out, gradient, work):
        fastbp.jit.predict(net, theta, X, out, work)
        return fastbp.jit.value_and_gradient(net, theta, X, y, gradient, work)

    out, gradient = np.empty_like(y), np.empty_like(model.parameters)
    cost = call(net, model.parameters, X, y, out, gradient, work)
    np.testing.assert_array_equal(out, model.predict(X))
    assert cost == model.value_and_gradient(X, y)[0]
    np.testing.assert_array_equal(gradient, model.value_and_gradient(X, y)[1])


CALLS = {
    "predict": lambda model, X, y: model.predict(X),
    "evaluate": lambda model, X, y: model.evaluate(X, y),
    "step": lambda model, X, y: model.step(X, y),
    "value_and_gradient": lambda model, X, y: model.value_and_gradient(X, y),
    "forward": lambda model, X, y: model.forward(X),
    "backward": lambda model, X, y: model.backward(X, y),
    "compiled": lambda model, X, y: model.compiled(),
    "jvp": lambda model, X, y: model.jvp(X, X),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_before_there_are_statistics_name_the_way_out(call, tmp_path):
    X, y = table(10)
    model = fastbp.Model(SIZES, standardize="inputs")
    with pytest.raises(ValueError, match=r"call fit, which learns them, call model\.learn_scaling, or set model\.sca"):
        CALLS[call](model, X, y)
    model.save(tmp_path / "model")
    assert fastbp.Model.load(tmp_path / "model").scaling is None
    assert "Model" in repr(model) + model.summary()


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "poisson", "hinge", "gaussian_nll"])
def test_losses_with_a_scale_of_their_own_refuse_both(loss):
    with pytest.raises(ValueError, match=f"standardize='both' is for the losses .*got loss '{loss}'"):
        fastbp.Model((5, 2), loss=loss, standardize="both")
    assert fastbp.Model((5, 2), loss=loss, standardize="inputs").standardize == "inputs"


def test_wrong_scalings_are_named():
    model = fastbp.Model(SIZES, standardize="inputs")
    with pytest.raises(ValueError, match="standardize must be one of"):
        fastbp.Model(SIZES, standardize="all")
    with pytest.raises(ValueError, match="output 'identity'"):
        fastbp.Model(SIZES, output="sigmoid", loss="squared_error", standardize="both")
    with pytest.raises(ValueError, match="scale must be positive"):
        fastbp.Scaling(np.zeros(5), np.zeros(5))
    with pytest.raises(ValueError, match="scale must have as many elements as mean"):
        fastbp.Scaling(np.zeros(5), np.ones(4))
    with pytest.raises(ValueError, match=r"shape \(5,\)"):
        model.scaling = fastbp.Scaling(np.zeros(4), np.ones(4))
    with pytest.raises(ValueError, match="standardize='inputs'"):
        model.scaling = fastbp.Scaling(np.zeros(5), np.ones(5), np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="must fit in float32"):
        model.scaling = fastbp.Scaling(np.zeros(5), np.full(5, 1e-60))
    with pytest.raises(ValueError, match="without standardize"):
        fastbp.Model(SIZES).scaling = fastbp.Scaling(np.zeros(5), np.ones(5))
    with pytest.raises(TypeError, match="got int"):
        model.scaling = 3
