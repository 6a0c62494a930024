"""The machine code of the kernels: vectors of this CPU's width, no scalar arithmetic, no calls by name.

Run as another CPU with NUMBA_CPU_NAME=haswell (or generic) NUMBA_CPU_FEATURES= NUMBA_CACHE_DIR=<an empty folder>.
"""

import functools
import os
import platform
import re

import pytest
from formulas import batch

from fastbp.core import embedded
from fastbp.core.formulas import optimizers
from fastbp.core.ir.kernel import lanes_of, registers
from fastbp.core.layers import (
    activation_kernels,
    dropout,
    forward_backward,
    loss,
    softmax,
)
from fastbp.core.matmul import few_columns, few_rows, forms, gemm, packed_weights, transpose
from fastbp.core.step import clip, examples, gradient_and_update, penalty, train, update_in_place
from fastbp.core.step.update import update

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 assembly")

WIDEST = {"generic": 16, "haswell": 32}.get(os.environ.get("NUMBA_CPU_NAME", ""), 64)
NAMES = {64: "zmm", 32: "ymm", 16: "xmm"}
TILES = forms.TILES[registers()[1]]
SIZES = {4: "s", 8: "d"}  # bytes of a number: the letter of its instructions
DEAD_SCALARS = int(WIDEST == 16)  # without masked loads LLVM makes a loop for a last vector of no lanes, and 0 s of it

ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu")  # kernel by kernel; the formulas of all others in one
PARTS = {
    "forward": lambda name, size: activation_kernels.forward(name, size, 16),
    "backward": activation_kernels.backward,
    "second": activation_kernels.second,
}
ELEMENTWISE = {
    f"{name} {part}": lambda size, name=name, part=part: PARTS[part](name, size)
    for name in ACTIVATIONS
    for part in PARTS
} | {"drop": dropout.drop}
UPDATES = {f"{rule} update": lambda size, rule=rule: update(rule, size) for rule in optimizers.RULES}
LOSSES = {
    **{  # of the losses of differences the one with the longest formula
        f"{name} loss of {n}": lambda size, name=name, n=n: loss.loss_kernel(name, "identity", n, False, size)[0]
        for name in ("squared_error", "cross_entropy", "binary_cross_entropy", "log_cosh", "hinge", "gaussian_nll")
        for n in (4, 40)
    },
    "softmax and cross-entropy": softmax.wide.of_probabilities,
    "softmax and divergence": lambda size: softmax.wide.of_probabilities(size, divergence=True),
    "softmax and cross-entropy, transposed": lambda size: softmax.cross_entropy(True, lanes_of(size), size),
    "softmax and cross-entropy, pairs transposed": lambda size: softmax.transposed.transposed_cross_entropy(size, 2),
    "softmax and cross-entropy, packed": lambda size: softmax.packed.packed_cross_entropy(size, 2),
    "softmax and cross-entropy, wide": softmax.wide.wide_cross_entropy,
    "cross-entropy of classes": loss.of_classes,
    "sigmoid and cross-entropy": lambda size: loss.loss_kernel("binary_cross_entropy", "sigmoid", 4, False, size)[0],
    "softmax, transposed": lambda size: softmax.transposed.transposed_softmax(size, 2),
    "softmax, packed": lambda size: softmax.packed.packed_softmax(size, 2),
    "softmax, wide": softmax.wide.wide_softmax,
    "softmax backward": softmax.backward,
}
STRUCTURE = {
    "dense": gemm.dense,
    "a row of 100": lambda size: gemm.row_panel(size, 100, "identity"),
    "transpose": transpose.transpose,
    "few columns of few terms": lambda size: few_columns.few_columns(size, lanes_of(size) // 2, 1),
    "few columns": lambda size: few_columns.few_columns(size, 2 * lanes_of(size), 1),
    "few columns of many terms": lambda size: few_columns.few_columns(size, 5 * lanes_of(size), lanes_of(size) // 2),
    "few rows": few_rows.few_rows,
    "forward": forward_backward.forward,
    "backward": forward_backward.backward,
    "sums": forward_backward.sums,
    "halves": examples.halves,
    "factors of dropout": dropout.factors,
    "examples": examples.examples,
    "update in place": update_in_place.update_in_place,
    "gradient_share": gradient_and_update.gradient_share,
    "penalty": penalty.penalty,
    "squares": clip.sum_squares,
    "clip": clip.clip,
    "update_share": gradient_and_update.update_share,
    "gradient_and_update_share": gradient_and_update.gradient_and_update_share,
    "train": train.train,
    "predict": embedded.predict,
    "predict, packed": embedded.predict_packed,
    "packed weights": packed_weights.pack,
    "sums of packed weights": packed_weights.packed_dense,
    "finite": embedded.finite,
    "evaluate": embedded.evaluate,
    "gradient": embedded.gradient,
}
MAY_BE_CALLED = {"memset", "memcpy"}  # filling and copying memory: LLVM's own choice for a loop


@functools.cache
def inspect(kernel):
    """(LLVM code, machine code), compiled once for all tests."""
    return kernel.inspect()


@functools.cache
def instructions(kernel):
    """(mnemonic, operands) of the kernel proper: without data, and Numba's wrapper that would report an error."""
    _, text = inspect(kernel)
    functions = re.findall(r"^(\S+):[^\n]*\n(.*?)^\.Lfunc_end", text, flags=re.MULTILINE | re.DOTALL)
    bodies = "\n".join(body for name, body in functions if "cfunc" not in name)
    lines = (line.split("#")[0].strip() for line in bodies.splitlines())
    code = [line for line in lines if line and not line.startswith((".", '"')) and not line.endswith(":")]
    assert code
    return [[*line.split(None, 1), ""][:2] for line in code]


def packed(code, letter):
    """Packed multiplications and additions, fused or not."""
    pattern = re.compile(rf"v?(fn?m(add|sub)\d+|mul|add)p{letter}$")
    return [operands for mnemonic, operands in code if pattern.match(mnemonic)]


def scalar(code, letter):
    """Scalar arithmetic."""
    pattern = re.compile(rf"v?(fn?m(add|sub)\d+|mul|add|sub|div|sqrt|max|min)s{letter}$")
    return [(mnemonic, operands) for mnemonic, operands in code if pattern.match(mnemonic)]


def called_by_name(code):
    """Functions called by their name, or by an address that the linker fills in."""
    named = [
        operands.split(",")[0].lstrip("$")
        for mnemonic, operands in code
        if re.match(r"(call\w* [^*]|movabs\w* \$[A-Za-z_])", f"{mnemonic} {operands}")
    ]
    return {name for name in named if not name.startswith("_ZN6fastbp")}


def test_vectors_have_the_width_of_the_cpu_that_is_compiled_for():
    assert registers() == (WIDEST, 32 if WIDEST == 64 else 16)
    assert lanes_of(4) == WIDEST // 4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("columns", TILES)
def test_every_tile_is_packed_multiply_adds_in_the_widest_registers_without_scalars(columns, size):
    code = instructions(gemm.panel(size, columns, 0))
    arithmetic = packed(code, SIZES[size])
    wanted = (sum(TILES[columns]) + 1) * columns  # one for each accumulator of the tiles
    assert len([operands for operands in arithmetic if NAMES[WIDEST] in operands]) >= wanted
    assert len(scalar(code, SIZES[size])) <= DEAD_SCALARS
    if WIDEST > 16:
        assert any(mnemonic.startswith("vfmadd") for mnemonic, _ in code)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("columns", TILES)
def test_panels_with_biases_and_of_a_few_rows_are_packed_multiply_adds_without_scalars(columns, size):
    for kernel in (gemm.biased_panel(size, columns, 0), *(gemm.low_panel(size, columns, 0, n) for n in forms.LOW)):
        code = instructions(kernel)
        widest = [operands for operands in packed(code, SIZES[size]) if NAMES[WIDEST] in operands]
        assert len(widest) >= gemm.ENOUGH_SUMS
        assert len(scalar(code, SIZES[size])) <= DEAD_SCALARS


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [gemm.panel, gemm.biased_panel])
def test_the_widest_tile_keeps_its_sums_in_registers(make, size):
    """Its inner loop stores nothing: what it loads is V and S."""
    if WIDEST == 16:
        pytest.skip("without fused multiply-add each product takes a separate register")
    _, text = inspect(make(size, max(TILES), 1))
    blocks = re.split(r"^\.LBB\w+:.*$", text, flags=re.MULTILINE)
    rows = TILES[max(TILES)][0]
    pattern = rf"v?(fmadd\d+|mul)p{SIZES[size]}\b"
    loops = [block for block in blocks if len(re.findall(pattern, block)) >= rows * max(TILES)]
    assert loops
    for loop in loops:
        assert not re.search(rf"v?movap{SIZES[size]}s?\s+%[xyz]mm\d+, -?\d*\(%rsp", loop), "a sum is spilled"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ELEMENTWISE | UPDATES)
def test_elementwise_kernels_have_no_scalar_arithmetic_and_call_nothing(name, size):
    code = instructions((ELEMENTWISE | UPDATES)[name](size))
    if name not in UPDATES:  # these compute their few coefficients first, in float64
        assert not scalar(code, SIZES[size])
    elif size == 4:
        assert not scalar(code, "s")
    assert called_by_name(code) <= {"memset"}  # of a derivative that is 0 everywhere
    moved = [operands for _, operands in code if NAMES[WIDEST] in operands]
    assert moved or called_by_name(code), "no vector of the CPU's width"


@functools.cache
def all_rows(size):
    rows = [row for name, row in activation_kernels.ACTIVATIONS.items() if name not in ACTIVATIONS]
    values = (lambda z, _, row=row: row.value(z) for row in rows)
    return batch((*values, *(part for row in rows for part in (row.derivative, row.second))), size)


@pytest.mark.parametrize("size", SIZES)
def test_every_activation_is_vectors_without_scalars_and_only_sines_of_large_numbers_call_libm(size):
    code = instructions(all_rows(size))
    assert not scalar(code, SIZES[size])
    suffix = "f" if size == 4 else ""
    assert called_by_name(code) == {f"sin{suffix}", f"cos{suffix}"}
    assert [operands for operands in packed(code, SIZES[size]) if NAMES[WIDEST] in operands]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LOSSES | STRUCTURE)
def test_no_kernel_calls_libm_the_allocator_or_python(name, size):
    assert called_by_name(instructions((LOSSES | STRUCTURE)[name](size))) <= MAY_BE_CALLED


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_use_vectors_of_the_cpus_width(name, size):
    code = instructions(LOSSES[name](size))
    assert [operands for operands in packed(code, SIZES[size]) if NAMES[WIDEST] in operands]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ELEMENTWISE | UPDATES | LOSSES | STRUCTURE)
def test_whole_registers_on_the_stack_are_aligned(name, size):
    """Where it begins differs from thread to thread, and one that crosses cache lines or a page is slow."""
    code = instructions((ELEMENTWISE | UPDATES | LOSSES | STRUCTURE)[name](size))
    stacked = [(move, operands) for move, operands in code if re.search(r"\(%r[sb]p\)", operands)]
    assert not [line for line in stacked if re.match(r"v?movup|vmovdqu", line[0]) and NAMES[WIDEST] in line[1]]


@pytest.mark.parametrize("size", SIZES)
def test_no_register_is_wider_than_the_cpu_has(size):
    wider = {name for width, name in NAMES.items() if width > WIDEST}
    kernels = (
        ELEMENTWISE
        | UPDATES
        | LOSSES
        | STRUCTURE
        | {"rows": all_rows, "panel": lambda size: gemm.panel(size, max(TILES), 1)}
    )
    for kernel in kernels.values():
        _, text = inspect(kernel(size))
        assert not any(name in text for name in wider)
