"""What other libraries' names are answered with: the right name, and never another one that looks alike."""

import re
from typing import Any

import pytest

import fastbp
from fastbp import initial, metrics
from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.formulas.losses import LOSSES
from fastbp.core.layers.activation_kernels import OUTPUT_ONLY
from fastbp.engine.problem import REDUCTIONS
from fastbp.inputs.checks import choice
from fastbp.inputs.synonyms import TABLES, normalized
from fastbp.optimizers import OPTIMIZERS
from fastbp.schedules import SCHEDULES

VALID: dict[str, Any] = {
    "loss": LOSSES,
    "hidden": ACTIVATIONS,
    "activation": ACTIVATIONS,
    "output": (*ACTIVATIONS, *OUTPUT_ONLY),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "initial": initial.NAMES,
    "metrics": metrics.NAMES,
    "monitor": ("cost", "validation_cost", *metrics.NAMES),
    "reduction": REDUCTIONS,
}


def answer(argument: str, value: str) -> str:
    """What follows "got `value`"."""
    with pytest.raises(ValueError) as caught:
        choice(argument, value, VALID[argument])
    expected = f"{argument} must be one of {', '.join(VALID[argument])}, got {value!r}"
    assert str(caught.value).startswith(expected)
    return str(caught.value).removeprefix(expected)


@pytest.mark.parametrize("argument", TABLES)
def test_every_row_names_what_there_is_and_every_name_leads_to_its_row(argument: str) -> None:
    elsewhere = [normalized(name) for row in TABLES[argument] for name in row.elsewhere.split()]
    assert len(set(elsewhere)) == len(elsewhere)
    assert not {normalized(name) for name in VALID[argument]} & set(elsewhere), "a valid name is not another one"
    for row in TABLES[argument]:
        assert row.name in VALID[argument] or (row.name is None and row.note)
        for name in row.elsewhere.split():
            for spelling in (name.upper(), "library.nn." + name.replace("_", "-"), name.title().replace("_", "")):
                found = answer(argument, spelling)
                assert row.note in found
                assert found.endswith(f"did you mean {row.name!r}?" if row.name else row.note)


@pytest.mark.parametrize("argument", TABLES)
def test_what_a_row_says_besides_is_true(argument: str) -> None:
    """The objects that it names can be made, the arguments are a model's or fit's, the functions exist."""
    for row in TABLES[argument]:
        for name, arguments in re.findall(r"fastbp\.(\w+)(\([^)]*\))?", row.note):
            assert eval(f"fastbp.{name}{arguments}")
        if output := re.search(r'output="(\w+)"', row.note):
            fastbp.Model((2, 2), output=output[1], loss=row.name if argument == "loss" else None)
        if loss := re.search(r'loss="(\w+)"', row.note):
            assert fastbp.Model((2, 2), loss=loss[1]).network.output == row.name
        if recorded := re.search(r'metrics=\["(\w+)"\]', row.note):
            assert recorded[1] == row.name


@pytest.mark.parametrize(
    ("argument", "names", "target"),
    [
        ("loss", "mse MSELoss l2 rmse MeanSquaredError", "squared_error"),
        ("loss", "mae l1 L1Loss torch.nn.L1Loss mean_absolute_error", "absolute_error"),
        (
            "loss",
            "nll NLLLoss CrossEntropyLoss categorical_crossentropy sparse_categorical_crossentropy",
            "cross_entropy",
        ),
        ("loss", "logloss log_loss cross-entropy CrossEntropy ce", "cross_entropy"),
        ("loss", "bce BCELoss BCEWithLogitsLoss binary_crossentropy BinaryCrossentropy", "binary_cross_entropy"),
        ("loss", "KLDivLoss kl_divergence", "kullback_leibler"),
        ("loss", "pinball mean_pinball_loss quantile_loss", "quantile"),
        ("loss", "SmoothL1Loss HuberLoss Huber", "huber"),
        ("loss", "PoissonNLLLoss", "poisson"),
        ("loss", "GaussianNLLLoss", "gaussian_nll"),
        ("loss", "optax.l2_loss", "half_squared_error"),
        ("hidden", "swish SiLU jax.nn.silu", "silu"),
        ("hidden", "ReLU torch.nn.ReLU RELU poslin", "relu"),
        ("hidden", "logistic logsig Sigmoid", "sigmoid"),
        ("output", "linear purelin Identity", "identity"),
        ("output", "Softmax soft-max log_softmax", "softmax"),
        ("hidden", "LeakyReLU leaky-relu", "leaky_relu"),
        ("hidden", "tansig Tanh", "tanh"),
        ("optimizer", "AdamW Adam-W", "adamw"),
        ("optimizer", "sgd+momentum SGDM nag traingdm", "sgd"),
        ("optimizer", "RMSProp rms_prop", "rmsprop"),
        ("initial", "xavier glorot xavier_uniform_ GlorotUniform", "glorot_uniform"),
        ("initial", "kaiming_normal_ HeNormal he", "he_normal"),
        ("metrics", "acc Accuracy", "accuracy"),
        ("metrics", "r2_score R2", "r2"),
        ("metrics", "mae", "mean_absolute_error"),
        ("monitor", "val_loss", "validation_cost"),
        ("monitor", "loss", "cost"),
        ("reduction", "average batchmean", "mean"),
    ],
)
def test_the_names_of_other_libraries_lead_to_the_right_one(argument: str, names: str, target: str) -> None:
    for name in names.split():
        assert answer(argument, name).endswith(f"did you mean {target!r}?"), name


def test_the_nearest_spelling_is_offered_only_where_no_synonym_is_known_and_only_if_it_is_near() -> None:
    assert answer("loss", "qantile") == "; did you mean 'quantile'?"
    assert answer("optimizer", "adma") == "; did you mean 'adam'?"
    assert answer("loss", "qwertz") == answer("hidden", "") == ""


def test_a_monitor_and_a_schedule_are_answered_too() -> None:
    model = fastbp.Model((2, 2))
    for monitor, message in {
        "val_loss": "got 'val_loss'; fit has no validation data; did you mean 'validation_cost'?",
        "validation_cost": "got 'validation_cost'; fit has no validation data",
        "loss": "got 'loss'; did you mean 'cost'?",
        "val_acc": "got 'val_acc'; fit records it with metrics=[\"accuracy\"]; did you mean 'accuracy'?",
        "qwertz": "got 'qwertz'",
    }.items():
        with pytest.raises(ValueError) as caught:
            model.fit([[0, 0]], [[0, 0]], early_stopping=fastbp.EarlyStopping(monitor=monitor))
        assert str(caught.value) == f"monitor must be one of cost in this fit, {message}"
    for name, kind in {"cosine": "Cosine", "ReduceLROnPlateau": "OnPlateau", "StepLR": "Step"}.items():
        with pytest.raises(TypeError) as error:
            fastbp.Adam(name)  # type: ignore[arg-type]
        assert str(error.value) == (
            f"learning_rate must be a number or a schedule: try fastbp.schedules.{kind}, got {name!r}"
        )
    with pytest.raises(TypeError, match=r"^learning_rate must be a number or a schedule, got 'fast'$"):
        fastbp.SGD("fast")  # type: ignore[arg-type]
