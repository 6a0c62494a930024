"""What fastbp takes as inputs, targets, weights, names and numbers, and what it says of everything else."""

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastbp import Model
from fastbp.inputs import arrays
from fastbp.inputs.arrays import as_inputs, as_shape, as_vector, as_weights
from fastbp.inputs.checks import (
    boolean,
    choice,
    floating_dtype,
    fraction,
    nonnegative_int,
    positive_float,
    positive_int,
)
from fastbp.inputs.targets import as_targets
from fastbp.losses import Huber

DTYPES = ("float32", "float64")
NATIVE_KINDS = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g")


class Frame:
    """Like a pandas frame or series: no array, but np.asarray makes one of it."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def mask(self) -> None:
        """pandas has a method of this name, which is no mask of missing values."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values if dtype is None else self.values.astype(dtype)


def says(*parts: str) -> Any:
    """A pattern for pytest.raises(match=) that wants all parts in this order."""
    return ".*".join(re.escape(part) for part in parts)


def layouts(a: np.ndarray) -> dict[str, Any]:
    """The same two-dimensional numbers in every form that a user may hold them."""
    wide = np.zeros((2 * a.shape[0], 3 * a.shape[1]), a.dtype)
    wide[::2, 1::3] = a
    offset = np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    read_only = a.copy()
    read_only.flags.writeable = False
    return {
        "C": a.copy(),
        "Fortran": np.asfortranarray(a),
        "strided": wide[::2, 1::3],
        "reversed": a[::-1, ::-1].copy()[::-1, ::-1],
        "big-endian": a.astype(a.dtype.newbyteorder(">")),
        "unaligned": offset,
        "read-only": read_only,
        "list": a.tolist(),
        "list of rows": list(a),
        "frame": Frame(a),
    }


# Inputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", NATIVE_KINDS)
def test_inputs_of_every_real_dtype_and_layout_come_out_native_contiguous_and_equal(kind: str, dtype: str) -> None:
    numbers = np.random.default_rng(3).integers(0, 100, (7, 5)).astype(kind)
    for layout, X in layouts(numbers).items():
        result = as_inputs(X, 5, dtype)
        assert type(result) is np.ndarray
        assert result.dtype == np.dtype(dtype)
        assert result.dtype.isnative
        assert result.flags.c_contiguous
        assert result.flags.aligned
        np.testing.assert_array_equal(result, numbers.astype(dtype), err_msg=layout)


@given(st.data())
def test_inputs_keep_every_finite_value(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    dtype = data.draw(st.sampled_from(DTYPES))
    elements = st.floats(allow_nan=False, allow_infinity=False, width=32 if dtype == "float32" else 64)
    X = data.draw(hnp.arrays(np.float64, shape, elements=elements))
    assert as_inputs(X, shape[1], dtype).tobytes() == X.astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_in_the_right_form_are_not_copied(dtype: str, tmp_path: Path) -> None:
    X = np.ones((6, 4), dtype)
    assert as_inputs(X, 4, dtype) is X

    X.flags.writeable = False
    assert as_inputs(X, 4, dtype) is X

    mapped = np.memmap(tmp_path / "X", dtype, "w+", shape=(6, 4))
    result = as_inputs(mapped, 4, dtype)
    assert type(result) is np.ndarray
    assert np.shares_memory(result, mapped)
    read_only = np.memmap(tmp_path / "X", dtype, "r", shape=(6, 4))
    assert np.shares_memory(as_inputs(read_only, 4, dtype), read_only)
    assert np.shares_memory(as_inputs(X[2:5], 4, dtype), X)


def test_checks_need_no_memory_of_the_size_of_the_array() -> None:
    X = np.zeros((400_000, 20), np.float32)  # 32 MB
    y = np.zeros((1_000_000, 4), np.float32)
    y[:, 1] = 1
    labels = np.zeros(4_000_000, np.float32)
    for dtype in ("float32", "float64"):
        as_inputs(X, 20, dtype)  # the kernels are ready
    tracemalloc.start()
    try:
        as_inputs(X, 20, "float32")
        as_targets(y, len(y), "cross_entropy", 4, "float32")
        as_targets(y, len(y), "binary_cross_entropy", 4, "float32")
        as_targets(labels, len(labels), "cross_entropy", 4, "float32")
        labels[-1] = 1
        as_weights(labels, len(labels), "float32")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        as_inputs(X, 20, "float64")
        peak_of_conversion = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * arrays.CHUNK_BYTES
    assert peak_of_conversion < 2 * X.nbytes + 3 * arrays.CHUNK_BYTES


def test_inputs_leave_the_array_of_the_user_alone() -> None:
    X = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    before = X.copy()
    as_inputs(X, 4, "float32")[:] = -1
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((10, 5)), "X must have 4 columns (the network's inputs), got shape (10, 5)"),
        (np.zeros((10, 0)), "X must have 4 columns (the network's inputs), got shape (10, 0)"),
        (np.zeros((0, 4)), "X must have at least 1 row, got shape (0, 4)"),
        ([], "X must be 2-D, one row per example, got shape (0,)"),
        (3.0, "X must be 2-D, one row per example, got shape ()"),
        (np.zeros((2, 3, 4)), "X must be 2-D, one row per example, got shape (2, 3, 4)"),
        ([[1, 2, 3, 4], [5, 6, 7]], "X must be a rectangular array of numbers: "),
    ],
)
def test_inputs_of_a_wrong_shape_are_refused(X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{says(message)}"):
        as_inputs(X, 4, "float32")


def test_one_dimensional_inputs_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=says("got shape (4,)", "a single example", "X.reshape(1, -1)")):
        as_inputs(np.zeros(4), 4, "float32")
    with pytest.raises(ValueError, match=says("got shape (7,)", "one column", "X.reshape(-1, 1)")):
        as_inputs(np.zeros(7), 1, "float32")


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((2, 4), object),
        np.zeros((2, 4), complex),
        np.zeros((2, 4), "U3"),
        np.zeros((2, 4), "S3"),
        np.zeros((2, 4), "M8[s]"),
        np.zeros((2, 4), "m8[s]"),
        np.zeros((2, 4), [("a", float)]),
        [["1", "2", "3", "4"]],
        [[1, 2, 3, None]],
        [[1, 2, 3, 2**70]],
        [[1, 2, 3, 4j]],
        None,
        "X",
        {"a": [1, 2, 3, 4]},
    ],
)
def test_inputs_that_are_not_real_numbers_are_refused(X: Any) -> None:
    with pytest.raises(TypeError, match=says("X must hold real numbers, got ", type(X).__name__, " of dtype ")):
        as_inputs(X, 4, "float32")


class Unreadable:
    """Like a torch tensor that requires gradients, a tensor on a GPU or an array of another device's library."""

    ndim, shape = 2, (3, 4)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise self.error


class Tensor(Unreadable):
    def detach(self) -> None: ...


class Series(Unreadable):
    def to_numpy(self) -> None:
        raise self.error


FOREIGN = [
    RuntimeError("Can't call numpy() on Tensor that requires grad.\nUse tensor.detach().numpy() instead."),
    TypeError("can't convert cuda:0 device type tensor to numpy."),
    AttributeError("no get"),
    KeyError("device"),
    NotImplementedError(),
]
TAKES_ARRAYS: dict[str, Callable[[Any], Any]] = {
    "X": lambda bad: Model((4, 2)).predict(bad),
    "y": lambda bad: Model((4, 2)).fit(np.ones((3, 4)), bad),
    "sample_weight": lambda bad: Model((4, 2)).fit(np.ones((3, 4)), np.ones((3, 2)), sample_weight=bad),
    "validation_data: y": lambda bad: Model((4, 2)).fit(
        np.ones((3, 4)), np.ones((3, 2)), validation_data=(np.ones((3, 4)), bad)
    ),
    "theta": lambda bad: Model((4, 2)).value_and_gradient(np.ones((3, 4)), np.ones((3, 2)), theta=bad),
    "parameters": lambda bad: setattr(Model((4, 2)), "parameters", bad),
    "initial[0][1]": lambda bad: Model((4, 2), initial=[(np.ones((2, 4)), bad)]),
    "initial[0]": lambda bad: Model((4, 2), initial=[bad], bias=False),
}


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", [Unreadable, Tensor, Series])
@pytest.mark.parametrize("name", TAKES_ARRAYS)
def test_an_object_whose_library_gives_no_array_is_refused_by_the_name_of_the_argument(
    name: str, kind: type[Unreadable], error: Exception
) -> None:
    reason = " ".join(str(error).split())
    hint = "; use its detach().cpu()" if kind is Tensor else ""
    expected = f"{name} must be what NumPy can read as an array, got {kind.__name__}, which says: {reason}{hint}"
    with pytest.raises(TypeError) as caught:
        TAKES_ARRAYS[name](kind(error))
    assert str(caught.value) == expected
    assert caught.value.__cause__ is error


def test_a_list_of_such_objects_is_refused_likewise() -> None:
    for bad in ([Unreadable(RuntimeError("no"))] * 3, [[Unreadable(RuntimeError("no"))] * 4] * 3):
        with pytest.raises(TypeError, match=r"^X must be what NumPy can read as an array, got list, which says: no$"):
            as_inputs(bad, 4, "float32")

    class Bare:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            raise RuntimeError("no")

    with pytest.raises(TypeError, match=r"^initial must be what NumPy can read as an array, got Bare, which says: no$"):
        Model((4, 2), initial=[Bare()])


def test_a_lack_of_memory_is_none_of_the_argument() -> None:
    with pytest.raises(MemoryError, match=r"^full$"):
        as_inputs(Unreadable(MemoryError("full")), 4, "float32")


def test_an_array_with_to_numpy_and_without_a_dtype_is_read() -> None:
    """As pyarrow's."""

    class Arrow:
        def to_numpy(self) -> np.ndarray:
            return np.ones((3, 4))

    np.testing.assert_array_equal(as_inputs(Arrow(), 4, "float32"), np.ones((3, 4)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("source", ["f2", "f4", "f8", ">f8", "g"])
def test_the_first_value_that_is_not_finite_is_named(source: str, bad: float, dtype: str) -> None:
    X = np.zeros((50, 4), source)
    X[40, 0] = X[33, 2] = X[33, 3] = bad
    for layout in (X, np.asfortranarray(X), X[:, ::-1][:, ::-1]):
        with pytest.raises(ValueError, match=f"^X must be finite, got {bad} in row 33, column 2$"):
            as_inputs(layout, 4, dtype)


def test_a_bad_value_is_found_in_every_chunk_and_at_its_ends() -> None:
    columns = 64
    rows = arrays.CHUNK_BYTES // (columns * 4)
    X = np.zeros((3 * rows + 1, columns), np.float32)
    for row in (0, rows - 1, rows, 2 * rows - 1, 3 * rows):
        for column in (0, columns - 1):
            X[row, column] = np.nan
            with pytest.raises(ValueError, match=f"in row {row}, column {column}$"):
                as_inputs(X, columns, "float32")
            X[row, column] = 0
    assert as_inputs(X, columns, "float32") is X


@given(st.integers(0, 19), st.integers(0, 2), st.sampled_from([1e39, -1e300, 3.5e38]))
def test_a_finite_value_that_overflows_has_a_message_of_its_own(row: int, column: int, value: float) -> None:
    X = np.ones((20, 3))
    X[row, column] = value
    message = re.escape(f"X must fit in float32, got {value} in row {row}, column {column}") + "$"
    with pytest.raises(ValueError, match=message):
        as_inputs(X, 3, "float32")
    assert as_inputs(X, 3, "float64") is X


def test_the_largest_values_of_each_dtype_fit() -> None:
    for dtype in DTYPES:
        X = np.array([[np.finfo(dtype).max, np.finfo(dtype).min, np.finfo(dtype).smallest_subnormal]])
        assert as_inputs(X, 3, dtype).tolist() == X.tolist()
    assert as_inputs(np.array([[2**64 - 1]], np.uint64), 1, "float32")[0, 0] == 2.0**64


def test_no_warning_escapes_whatever_numpys_error_state() -> None:
    with np.errstate(all="raise"):
        as_inputs([[1e-300, 0.1]], 2, "float32")
        with pytest.raises(ValueError, match="must fit in float32"):
            as_inputs([[1e300, 0.1]], 2, "float32")
        with pytest.raises(ValueError, match="a sum that fits in float64"):
            as_weights([1e308, 1e308], 2, "float64")


def test_masked_values_are_refused_and_an_empty_mask_is_not() -> None:
    X = np.ma.MaskedArray(np.ones((3, 2)), mask=np.zeros((3, 2), bool))
    assert as_inputs(X, 2, "float64").tolist() == np.ones((3, 2)).tolist()
    X[1, 1] = np.ma.masked
    with pytest.raises(ValueError, match=r"^X must not have masked values, got 1 of them$"):
        as_inputs(X, 2, "float64")


def test_the_name_is_the_callers() -> None:
    with pytest.raises(ValueError, match=says("validation_data[0] must have 2 columns")):
        as_inputs(np.zeros((3, 3)), 2, "float32", name="validation_data[0]")


# Targets ----------------------------------------------------------------------------------------------------

LOSSES = ("squared_error", "cross_entropy", "binary_cross_entropy", "poisson")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", NATIVE_KINDS)
def test_targets_of_every_real_dtype_and_layout_come_out_native_contiguous_and_equal(
    kind: str, loss: str, dtype: str
) -> None:
    one_hot = np.eye(3)[[0, 2, 1, 1, 0]].astype(kind)
    for layout, y in layouts(one_hot).items():
        result = as_targets(y, 5, loss, 3, dtype)
        assert result.dtype == np.dtype(dtype)
        assert result.flags.c_contiguous
        assert result.flags.aligned
        np.testing.assert_array_equal(result, one_hot.astype(dtype), err_msg=layout)


@pytest.mark.parametrize("loss", LOSSES)
def test_targets_in_the_right_form_are_not_copied(loss: str) -> None:
    y = np.eye(3, dtype=np.float32)
    assert as_targets(y, 3, loss, 3, "float32") is y
    column = np.ones(4)
    result = as_targets(column, 4, loss, 1, "float64") if loss != "cross_entropy" else column
    assert np.shares_memory(result, column)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "cross_entropy"])
def test_a_vector_of_targets_is_one_column_for_one_output(loss: str) -> None:
    y = [0, 1, 1, 0]
    assert as_targets(y, 4, loss, 1, "float64").tolist() == [[0], [1], [1], [0]]
    with pytest.raises(ValueError, match=says("y must have shape (4, 2), one column per output, got shape (4,)")):
        as_targets(y, 4, loss, 2, "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["i1", "u1", ">i4", "i8", "u8", "f4", "f8"])
def test_class_numbers_stay_a_vector(kind: str, dtype: str) -> None:
    classes = np.array([0, 9, 3, 3, 1]).astype(kind)
    for y in (classes, np.repeat(classes, 2)[::2], classes.tolist(), Frame(classes)):
        result = as_targets(y, 5, "cross_entropy", 10, dtype)
        assert result.shape == (5,)
        assert result.dtype == np.dtype(dtype)
        assert result.flags.c_contiguous
        assert result.tolist() == [0, 9, 3, 3, 1]
    assert as_targets([True, False], 2, "cross_entropy", 2, dtype).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 3], "y must hold class indices from 0 to 2 (the network's outputs), got 3 at index 2"),
        ([0, -1, 7], "y must hold class indices from 0 to 2 (the network's outputs), got -1 at index 1"),
        (
            [0.0, 1.0, 1e30],
            "y must hold class indices from 0 to 2 (the network's outputs), got 1e+30 at index 2",
        ),
        ([0, 1, 0.5], "y must hold whole class indices, got 0.5 at index 2"),
        ([0, 1, 1 + 1e-9], "y must hold whole class indices, got 1.000000001 at index 2"),
        ([0, np.nan, 0.5], "y must be finite, got nan at index 1"),
        ([0, 1, -np.inf], "y must be finite, got -inf at index 2"),
        (np.array([0, 1, 2**64 - 1], np.uint64), "y must hold class indices from 0 to 2 "),
        (np.array([0, 1, 200], np.uint8), "y must hold class indices from 0 to 2 "),
    ],
)
def test_labels_out_of_range_or_not_whole_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=says(message)):
        as_targets(y, 3, "cross_entropy", 3, "float32")


def test_labels_of_a_small_integer_type_work_with_many_classes() -> None:
    assert as_targets(np.array([0, 127], np.int8), 2, "cross_entropy", 1000, "float32").tolist() == [0, 127]


@given(st.integers(1, 12), st.integers(1, 6), st.randoms(use_true_random=False))
def test_rows_of_probabilities_are_taken(rows: int, columns: int, random: Any) -> None:
    y = np.array([[random.random() + 1e-3 for _ in range(columns)] for _ in range(rows)])
    y /= y.sum(axis=1, keepdims=True)
    for dtype in DTYPES:
        assert as_targets(y, rows, "cross_entropy", columns, dtype).shape == (rows, columns)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.25, 0.2], "y must hold probabilities that sum to 1 in each row, got a sum of 0.95 in row 2"),
        ([0, 0, 0], "y must hold probabilities that sum to 1 in each row, got a sum of 0 in row 2"),
        ([1.5, -0.5, 0], "y must hold probabilities, not negative, got -0.5 in row 2, column 1"),
        ([0, np.nan, 1], "y must be finite, got nan in row 2, column 1"),
        ([0, 1e39, 1], "y must fit in float32, got 1e+39 in row 2, column 1"),
    ],
)
def test_rows_that_are_no_probabilities_are_refused(row: list[float], message: str) -> None:
    y = np.eye(3)
    y[2] = row
    with pytest.raises(ValueError, match=f"^{says(message)}$"):
        as_targets(y, 3, "cross_entropy", 3, "float32")


def test_probabilities_may_miss_the_sum_of_1_by_a_thousandth() -> None:
    as_targets([[0.5, 0.4991]], 1, "cross_entropy", 2, "float32")
    with pytest.raises(ValueError, match="sum to 1"):
        as_targets([[0.5, 0.4989]], 1, "cross_entropy", 2, "float32")


@pytest.mark.parametrize(("bad", "got"), [(-0.25, "-0.25"), (1.5, "1.5"), (2, "2.0")])
def test_binary_targets_lie_between_0_and_1(bad: float, got: str) -> None:
    y = np.full((6, 2), 0.5)
    y[4, 1] = bad
    with pytest.raises(ValueError, match=f"^{says(f'y must lie in [0, 1], got {got} in row 4, column 1')}$"):
        as_targets(y, 6, "binary_cross_entropy", 2, "float32")
    assert as_targets(y, 6, "squared_error", 2, "float64") is y


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("poisson", [[0, 3], [2, -1]], "y must not be negative for the loss poisson, got -1.0 in row 1, column 1"),
        (
            "hinge",
            [[1, -1], [1, 0]],
            "y must be -1 or 1 for the loss hinge (2 y - 1 of classes 0 and 1), got 0.0 in row",
        ),
        (
            "hinge",
            [[1, -1], [1, -2]],
            "y must be -1 or 1 for the loss hinge (2 y - 1 of classes 0 and 1), got -2.0 in ",
        ),
        (
            "kullback_leibler",
            [[0.5, 0.5], [0.5, 0.4]],
            "y must hold probabilities that sum to 1 in each row, got a sum",
        ),
        (
            "kullback_leibler",
            [[0.5, 0.5], [-1, 2]],
            "y must hold probabilities, not negative, got -1.0 in row 1, column",
        ),
        ("kullback_leibler", [0, 1], "y must have shape (2, 2), one column per output, got shape (2,)"),
    ],
)
def test_targets_that_a_loss_does_not_take_are_refused(loss: str, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{says(message)}"):
        as_targets(y, 2, loss, 2, "float64")


def test_gaussian_nll_has_a_column_for_each_pair_of_outputs() -> None:
    y = np.zeros((5, 2), np.float32)
    assert as_targets(y, 5, "gaussian_nll", 4, "float32") is y
    assert as_targets([1, 2, 3], 3, "gaussian_nll", 2, "float32").tolist() == [[1], [2], [3]]
    message = (
        "y must have shape (5, 2), one column per mean (of the 4 outputs, half are log variances), got shape (5, 4)"
    )
    with pytest.raises(ValueError, match=f"^{says(message)}$"):
        as_targets(np.zeros((5, 4)), 5, "gaussian_nll", 4, "float32")


@pytest.mark.parametrize("loss", ["absolute_error", "log_cosh", "quantile", Huber(0.1)])
def test_losses_of_differences_take_every_finite_number(loss: Any) -> None:
    assert as_targets([-1e30, 1e30], 2, loss, 1, "float32").tolist() == [[np.float32(-1e30)], [np.float32(1e30)]]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("y", [np.zeros((4, 3)), np.zeros(4), np.zeros((0, 3)), 1.0, []])
def test_the_number_of_targets_is_the_number_of_examples(y: Any, loss: str) -> None:
    shape = str(np.shape(y))
    with pytest.raises(ValueError, match=says("y must have 5 rows (one per example), got shape " + shape)):
        as_targets(y, 5, loss, 3, "float32")


def test_wrong_columns_are_refused_with_what_the_loss_takes() -> None:
    with pytest.raises(ValueError, match=f"^{says('y must have shape (5, 3), one column per output, got shape')}"):
        as_targets(np.zeros((5, 2)), 5, "squared_error", 3, "float32")
    both = says("(5,) with class indices or (5, 3), one column per output, got shape (5, 2)")
    with pytest.raises(ValueError, match=both):
        as_targets(np.zeros((5, 2)), 5, "cross_entropy", 3, "float32")
    with pytest.raises(ValueError, match=says("got shape (5, 1); use y.ravel() for class indices")):
        as_targets(np.zeros((5, 1), int), 5, "cross_entropy", 3, "float32")
    with pytest.raises(ValueError, match=says("got shape (5, 3, 1)")):
        as_targets(np.zeros((5, 3, 1)), 5, "squared_error", 3, "float32")


@pytest.mark.parametrize("y", [["a", "b"], [None, 1], np.zeros(2, complex), np.zeros(2, object)])
@pytest.mark.parametrize("loss", LOSSES)
def test_targets_that_are_not_real_numbers_are_refused(y: Any, loss: str) -> None:
    with pytest.raises(TypeError, match=r"^y must hold real numbers, got "):
        as_targets(y, 2, loss, 2, "float32")


# Weights and parameters -------------------------------------------------------------------------------------


def test_no_weights_are_no_weights() -> None:
    assert as_weights(None, 3, "float32") is None


@pytest.mark.parametrize("kind", NATIVE_KINDS)
def test_weights_of_every_real_dtype_come_out_contiguous(kind: str) -> None:
    weights = np.array([0, 1, 0, 1, 1]).astype(kind)
    for given_weights in (weights, np.repeat(weights, 3)[::3], weights.tolist(), Frame(weights)):
        result = as_weights(given_weights, 5, "float64")
        assert result is not None
        assert result.flags.c_contiguous
        assert result.dtype == np.float64
        assert result.tolist() == [0, 1, 0, 1, 1]
    right = np.ones(5, np.float32)
    assert as_weights(right, 5, "float32") is right


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            [1, 2, -3],
            'sample_weight must not be negative (Model(reduction="sum") takes signs in step, value_and_gradient and '
            "backward), got -3.0 at index 2",
        ),
        ([0, 0, 0], "sample_weight must not be all zero"),
        ([1e-60, 0, 0], "sample_weight must not be all zero in float32"),
        ([1, np.nan, 1], "sample_weight must be finite, got nan at index 1"),
        ([1, 1, np.inf], "sample_weight must be finite, got inf at index 2"),
        ([1, 1e39, 1], "sample_weight must fit in float32, got 1e+39 at index 1"),
        ([3e38, 3e38, 0], "sample_weight must have a sum that fits in float32, got 6e+38"),
        ([1, 1], "sample_weight must have shape (3,), one weight per example, got shape (2,)"),
        ([[1], [1], [1]], "sample_weight must have shape (3,), one weight per example, got shape (3, 1)"),
        (1.0, "sample_weight must have shape (3,), one weight per example, got shape ()"),
    ],
)
def test_bad_weights_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        as_weights(weights, 3, "float32")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0, 0, 0], "sample_weight must not be all zero"),
        ([1, np.nan, 1], "sample_weight must be finite, got nan at index 1"),
        ([-3e38, -3e38, 0], "sample_weight must have a sum that fits in float32, got -6e+38"),
        ([1, 1], "sample_weight must have shape (3,), one weight per example, got shape (2,)"),
    ],
)
def test_signed_weights_are_refused_for_all_but_their_signs(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        as_weights(weights, 3, "float32", signed=True)
    for signed in ([1, -2, 0.5], [1, -1, 0]):
        result = as_weights(signed, 3, "float32", signed=True)
        assert result is not None
        assert result.tolist() == signed


@pytest.mark.parametrize("weights", ["abc", [1, 2, None], np.ones(3, complex)])
def test_weights_that_are_not_real_numbers_are_refused(weights: Any) -> None:
    with pytest.raises(TypeError, match=r"^sample_weight must hold real numbers, got "):
        as_weights(weights, 3, "float32")


def test_as_vector_and_as_shape_check_shape_and_values() -> None:
    theta = np.ones(4, np.float32)
    assert as_vector(theta, 4, "float32", "theta") is theta
    assert as_vector([1, 2, 3, 4], 4, "float32", "theta").dtype == np.float32
    with pytest.raises(ValueError, match=says("theta must have shape (5,), got shape (4,)")):
        as_vector(theta, 5, "float32", "theta")
    with pytest.raises(ValueError, match=r"^theta must be finite, got nan at index 1$"):
        as_vector([0, np.nan], 2, "float32", "theta")
    with pytest.raises(ValueError, match=says("w must fit in float32, got 1e+39 in row 1, column 0")):
        as_shape([[0.0, 1.0], [1e39, 1.0]], (2, 2), "float32", "w")


# Names and numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "nearest"),
    [("sigmod", "sigmoid"), ("ReLU", "relu"), ("soft-max", "softmax"), ("TANH", "tanh"), ("", "identity")],
)
def test_an_unknown_name_is_refused_with_the_nearest_valid_one(value: str, nearest: str) -> None:
    valid = ("identity", "sigmoid", "tanh", "relu", "softmax")
    with pytest.raises(ValueError, match=says("output must be one of identity, sigmoid", f"got {value!r}")) as e:
        choice("output", value, valid)
    if value:
        assert str(e.value).endswith(f"did you mean {nearest!r}?")
    assert choice("output", nearest, valid) == nearest


@pytest.mark.parametrize("value", [None, 3, ["relu"], b"relu", np.float64(1)])
def test_a_name_that_is_no_string_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^hidden must be one of relu, tanh, got "):
        choice("hidden", value, ("relu", "tanh"))


@pytest.mark.parametrize("dtype", ["float32", "f4", np.float32, np.dtype("float64"), float, "double"])
def test_the_two_floating_dtypes_are_taken_by_any_name(dtype: Any) -> None:
    assert floating_dtype(dtype) == np.dtype(dtype)


@pytest.mark.parametrize("dtype", ["float16", int, complex, object, ">f4", "g", None, "f4,f4"])
def test_other_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(ValueError, match=r"^dtype must be float32 or float64, got "):
        floating_dtype(dtype)


def test_what_is_no_dtype_is_refused() -> None:
    wrong: Any
    for wrong in ("flaot32", 7):
        with pytest.raises(TypeError, match=r"^dtype must be float32 or float64, got "):
            floating_dtype(wrong)


@pytest.mark.parametrize("value", [1, 7, np.int64(7), np.uint8(7)])
def test_whole_numbers_come_out_as_int(value: Any) -> None:
    assert positive_int("epochs", value) == value
    assert type(positive_int("epochs", value)) is int
    assert nonnegative_int("seed", value) == value
    assert nonnegative_int("seed", 0) == 0


@pytest.mark.parametrize("value", [0, -1, -(2**70), 2**63])
def test_whole_numbers_out_of_range_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match=f"^batch_size must be a whole number >= 1, got {value}$"):
        positive_int("batch_size", value)


@pytest.mark.parametrize("value", [1.0, "1", None, True, np.bool_(True), [1], np.array(1), np.float32(1), 1j])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^epochs must be a whole number >= 1, got "):
        positive_int("epochs", value)
    with pytest.raises(TypeError, match=r"^seed must be a whole number >= 0, got "):
        nonnegative_int("seed", value)


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_positive_numbers_come_out_as_float(value: float) -> None:
    for same in (value, np.float64(value)):
        assert positive_float("learning_rate", same) == value
        assert type(positive_float("x", same)) is float
    assert positive_float("x", np.int32(3)) == 3.0
    assert positive_float("x", np.float32(0.5)) == 0.5


@pytest.mark.parametrize("value", [0, -1, 0.0, -0.1, np.nan, np.inf, -np.inf, 10**400, np.float32(-1)])
def test_numbers_that_are_not_positive_are_refused(value: Any) -> None:
    message = f"learning_rate must be finite and positive, got {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        positive_float("learning_rate", value)


@pytest.mark.parametrize("value", [1, 1.0, -0.01, np.nan, np.inf])
def test_fractions_lie_in_0_to_1_without_1(value: float) -> None:
    with pytest.raises(ValueError, match=says("momentum must lie in [0, 1), got ")):
        fraction("momentum", value)
    assert fraction("momentum", 0) == 0
    assert fraction("momentum", 0.9) == 0.9


@pytest.mark.parametrize("value", [None, "0.1", True, 1j, [0.1], np.array(0.1)])
def test_what_is_no_number_is_refused(value: Any) -> None:
    for check in (positive_float, fraction):
        with pytest.raises(TypeError, match=r"^x must be a number, got "):
            check("x", value)


def test_flags_are_true_or_false_and_nothing_else() -> None:
    assert boolean("shuffle", True) is True
    assert boolean("shuffle", np.bool_(False)) is False
    for value in (1, 0, None, "yes", [True]):
        with pytest.raises(TypeError, match=r"^shuffle must be True or False, got "):
            boolean("shuffle", value)


@pytest.mark.parametrize("sizes", [{2, 3}, {2: 1, 3: 1}, frozenset({2, 3}), "23", 5, None])
def test_sizes_without_an_order_are_refused(sizes):
    with pytest.raises(TypeError, match="sizes must be a sequence of layer sizes"):
        Model(sizes)


def test_more_parameters_than_any_memory_holds_are_refused_by_name():
    with pytest.raises(ValueError, match="sizes must make up at most"):
        Model((10**10, 10**10))
