"""Other libraries' names and fastbp's names for them: a table for each argument that takes a name.

No argument accepts them, as another library's definition may differ: the error suggests fastbp's name. The names are
those of PyTorch, Keras, scikit-learn, JAX with Optax, and MATLAB, without case, dots, dashes, underscores and spaces.
"""

from collections.abc import Collection
from typing import NamedTuple


class Row(NamedTuple):
    """fastbp's name (None: no equivalent), a note for the error message, and the names elsewhere."""

    name: str | None
    note: str
    elsewhere: str


SUMMED = "here it is the sum over the outputs, the mean over the examples"
OWN_ACTIVATION = "fastbp.Activation makes an activation of a function and its derivative"
OWN_LOSS = "fastbp.Loss makes a loss of a function and its derivative"
WITH_MOMENTUM = "momentum is an argument: fastbp.SGD(momentum=0.9)"

LOSS = (
    Row("squared_error", SUMMED, "mse mean_squared_error l2 l2_squared squared_loss squares least_squares quadratic"),
    Row("squared_error", 'the sum over the examples is reduction="sum"', "sse sum_squared_error sum_of_squares"),
    Row("squared_error", "the minimum is the same without the root", "rmse root_mean_squared_error"),
    Row("half_squared_error", "", "l2_loss half_mse half_mean_squared_error"),
    Row("absolute_error", SUMMED, "mae mean_absolute_error l1 lad least_absolute_deviations"),
    Row("absolute_error", 'the sum over the examples is reduction="sum"', "sae sum_absolute_error"),
    Row(
        "cross_entropy",
        'with output="softmax" it is computed from z; y holds class indices, or probabilities in rows',
        "cross_entropy_loss ce xent categorical_crossentropy sparse_categorical_crossentropy softmax_cross_entropy "
        "softmax_cross_entropy_with_logits softmax_cross_entropy_with_integer_labels nll negative_log_likelihood "
        "multinomial softmax",
    ),
    Row(
        "cross_entropy",
        'with output="softmax" for one of several classes; with output="sigmoid" it is binary_cross_entropy',
        "log_loss deviance",
    ),
    Row(
        "binary_cross_entropy",
        'with output="sigmoid" it is computed from z',
        "bce bce_with_logits binary_log_loss sigmoid_cross_entropy sigmoid_cross_entropy_with_logits "
        "sigmoid_binary_cross_entropy multi_label_soft_margin logistic bernoulli binomial_deviance",
    ),
    Row(
        "kullback_leibler",
        'with output="softmax" it is computed from z; y holds probabilities in rows',
        "kl kld kl_div kl_divergence kullback_leibler_divergence relative_entropy",
    ),
    Row("poisson", 'output="exponential" makes z the logarithm of the mean', "poisson_nll poisson_deviance"),
    Row(
        "gaussian_nll",
        "the outputs are all means, then all logarithms of variances",
        "gaussian_nll_loss gaussian_negative_log_likelihood normal_nll heteroscedastic",
    ),
    Row(
        "quantile",
        "of another quantile than the median: fastbp.Quantile(q=0.9)",
        "pinball mean_pinball tilted check quantile_regression",
    ),
    Row("huber", "with another threshold than 1: fastbp.Huber(delta=0.5)", "smooth_l1 smooth_mae"),
    Row("hinge", "y holds -1 and 1", "svm binary_hinge"),
    Row(
        None,
        OWN_LOSS,
        "mape mean_absolute_percentage_error msle mean_squared_logarithmic_error focal binary_focal_crossentropy "
        "categorical_focal_crossentropy squared_hinge categorical_hinge multi_margin soft_margin dice tversky tweedie "
        "gamma cosine_similarity cosine_embedding",
    ),
)

ACTIVATION = (
    Row("identity", "", "linear none purelin pass_through"),
    Row("sigmoid", "", "logistic logsig expit"),
    Row("sigmoid", 'loss="binary_cross_entropy" takes the logarithm', "log_sigmoid"),
    Row("tanh", "", "tansig hyperbolic_tangent"),
    Row("relu", "", "rectifier rectified_linear poslin"),
    Row("leaky_relu", "its slope below 0 is 0.01", "lrelu leaky leaky_rectify"),
    Row("silu", "", "swish swish_1"),
    Row("gelu_tanh", "", "gelu_new gelu_approximate approximate_gelu gelu_fast"),
    Row("softplus", "", "smooth_relu soft_relu"),
    Row("sin", "", "sine siren"),
    Row("gaussian", "", "radbas rbf gauss bell"),
    Row("exponential", "", "exp"),
    Row(
        None,
        OWN_ACTIVATION,
        "softsign elliotsig relu6 hard_tanh satlins satlin hard_swish hard_silu prelu rrelu celu glu threshold hardlim "
        "squareplus sparse_plus hard_shrink soft_shrink tanh_shrink tribas",
    ),
)
HIDDEN = (*ACTIVATION, Row(None, 'softmax is for the output alone: output="softmax"', "softmax log_softmax softmin"))
OUTPUT = (
    *ACTIVATION,
    Row("softmax", 'loss="cross_entropy" takes the logarithm', "log_softmax"),
    Row("softmax", "", "softargmax"),
)

OPTIMIZER = (
    Row("sgd", "", "gd gradient_descent stochastic_gradient_descent vanilla traingd"),
    Row("sgd", WITH_MOMENTUM, "momentum sgd_momentum sgd_with_momentum sgdm heavy_ball polyak traingdm"),
    Row(
        "sgd",
        "Nesterov's momentum is an argument: fastbp.SGD(momentum=0.9, nesterov=True)",
        "nesterov nag sgd_nesterov nesterov_momentum",
    ),
    Row("adamw", "", "adam_weight_decay decoupled_adam"),
    Row("adam", "not the same, but the nearest here", "amsgrad adamax radam adabelief yogi lion sparse_adam adafactor"),
    Row("adamw", "not the same, but the nearest here", "lamb"),
    Row("nadam", "", "nesterov_adam adam_nesterov"),
    Row("rmsprop", "not the same, but the nearest here", "adadelta"),
    Row("adagrad", "not the same, but the nearest here", "ftrl"),
    Row("rprop", "it takes full batches", "trainrp irprop irprop_minus resilient resilient_backpropagation"),
    Row(
        None,
        "scipy.optimize.minimize takes model.value_and_gradient: see docs/choosing.md",
        "lbfgs bfgs newton_cg cg trainlm trainbfg trainscg traincgf trainbr levenberg_marquardt",
    ),
)

SCHEDULE = (
    Row("constant", "", "constant_lr constant_schedule fixed"),
    Row("step", "", "step_lr step_decay piecewise_constant staircase multi_step multi_step_lr piecewise"),
    Row("exponential", "", "exponential_lr exponential_decay exp_decay"),
    Row("cosine", "", "cosine_annealing cosine_annealing_lr cosine_decay cosine_decay_schedule cosine_schedule"),
    Row("cosine", "warm_up is an argument of every schedule", "warmup_cosine_decay_schedule linear_lr linear_warmup"),
    Row("one_cycle", "", "one_cycle_lr cosine_onecycle_schedule linear_onecycle_schedule super_convergence"),
    Row("inverse_scaling", "", "invscaling inverse_time_decay inverse_sqrt noam"),
    Row("on_plateau", "", "reduce_lr_on_plateau reduce_on_plateau plateau adaptive"),
)

INITIAL = (
    Row("auto", "", "default automatic"),
    Row("glorot_uniform", "", "glorot xavier xavier_uniform"),
    Row("glorot_normal", "", "xavier_normal"),
    Row("he_uniform", "", "kaiming kaiming_uniform"),
    Row("he_normal", "", "he kaiming_normal msra"),
    Row("zeros", "", "zero constant"),
    Row(
        None,
        "arrays of your own may be given, one pair (w, b) for each layer",
        "lecun lecun_normal lecun_uniform orthogonal normal uniform random random_normal random_uniform "
        "truncated_normal trunc_normal ones identity eye variance_scaling initnw",
    ),
)

METRIC = (
    Row("accuracy", "", "acc accuracy_score categorical_accuracy sparse_categorical_accuracy binary_accuracy"),
    Row("r2", "", "r2_score r_squared coefficient_of_determination"),
    Row("mean_absolute_error", "", "mae l1 absolute_error neg_mean_absolute_error"),
    Row(None, "costs are always recorded", "cost loss validation_cost val_loss"),
    Row(
        None,
        "a metric may be a function (y_true, y_pred) -> float, as those of sklearn.metrics are",
        "mse mean_squared_error neg_mean_squared_error rmse root_mean_squared_error mape log_loss "
        "cross_entropy f1 f1_score fbeta auc roc_auc roc_auc_score precision recall balanced_accuracy top_k_accuracy "
        "explained_variance confusion_matrix cosine_similarity",
    ),
)
MONITOR = (
    Row("validation_cost", "", "val_loss validation_loss valid_loss val_cost eval_loss test_loss dev_loss"),
    Row("cost", "", "loss train_loss training_loss train_cost training_cost"),
    Row("accuracy", 'fit records it with metrics=["accuracy"]', "acc val_acc val_accuracy validation_accuracy"),
    Row("r2", 'fit records it with metrics=["r2"]', "r2_score val_r2 val_r2_score validation_r2"),
    Row(
        "mean_absolute_error",
        'fit records it with metrics=["mean_absolute_error"]',
        "mae val_mae val_mean_absolute_error validation_mae",
    ),
)

REDUCTION = (
    Row("mean", "", "average avg batch_mean elementwise_mean sum_over_batch_size auto"),
    Row("sum", "", "total add"),
    Row(None, "a model has one cost: fit it, or take it example by example", "none"),
)

TABLES = {
    "loss": LOSS,
    "hidden": HIDDEN,
    "activation": HIDDEN,
    "output": OUTPUT,
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
    "initial": INITIAL,
    "metrics": METRIC,
    "monitor": MONITOR,
    "reduction": REDUCTION,
}
"""By the argument's name."""


def normalized(name: str) -> str:
    """The name without case and punctuation: "torch.nn.LeakyReLU" and "leaky-relu" are both "leakyrelu"."""
    return "".join(letter for letter in name.rpartition(".")[2].lower() if letter.isalnum())


def equivalent(argument: str, value: str, valid: Collection[str]) -> Row | None:
    """The row for another library's name, or for a valid name in another spelling; None if unknown."""
    rows = [Row(name, "", name) for name in valid]
    rows += [row for row in TABLES.get(argument.lstrip("-"), ()) if row.name is None or row.name in valid]
    for spelled in (normalized(value), normalized(value).removesuffix("loss")):
        for row in reversed(rows):  # rows of the tables take precedence over bare spellings
            if spelled in map(normalized, row.elsewhere.split()):
                return row
    return None


def advice(argument: str, value: str, valid: Collection[str]) -> str:
    """The end of an error that says "got `value`": the equivalent name, else the nearest spelling, if any."""
    row = equivalent(argument, value, valid)
    if row is None:
        import difflib  # costs 2 ms, and only an error needs it

        nearest = difflib.get_close_matches(value.lower().replace("-", "_").replace(" ", "_"), valid, n=1)
        row = Row(nearest[0] if nearest else None, "", "")
    note = f"; {row.note}" if row.note else ""
    return note if row.name is None else f"{note}; did you mean {row.name!r}?"
