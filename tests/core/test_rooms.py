"""What each room of the package may know: LLVM only below fastbp/core/ir. Each kernel module has its tests."""

import ast
from pathlib import Path

import pytest

import fastbp

PACKAGE = Path(fastbp.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "core" / "ir" not in path.parents]
LLVM = {"llvmlite", "builder", "intrinsic"}


def words_of(tree: ast.Module) -> set[str]:
    """The names in the code, and the parts of those that it imports; not its strings and comments."""
    words: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.FunctionDef(name=name):
                words.add(name)
            case ast.alias(name=name):
                words.update(name.split("."))
            case ast.ImportFrom(module=str(name)):
                words.update(name.split("."))
    return words


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_ir_emits_llvm(path: Path) -> None:
    assert not words_of(ast.parse(path.read_text())) & LLVM


ELSEWHERE = {
    "cache": "behaviour/test_cache.py",  # by processes, folders and files
    "calls": "core/test_forward_backward.py",  # of the products that it calls by their fields
    "frame": "test_derivatives.py",  # by what is computed on them
    "passes": "test_derivatives.py",
    "jacobian": "core/test_derivatives_in_inputs.py",
    "jacobian_by_inputs": "core/test_derivatives_in_inputs.py",
    "hessian": "core/test_derivatives_in_inputs.py",
    "taylor": "core/test_derivatives_in_inputs.py",
    "entries": "test_jit_derivatives.py",  # which calls them
    "c_functions": "test_callback.py",
    "products": "test_derivatives.py",
    "training": "test_learning_derivatives.py",
    "smoothing": "test_jit.py",
}


def test_every_kernel_module_has_tests_of_its_name() -> None:
    """A folder below a room counts as one module."""
    core, tests = PACKAGE / "core", Path(__file__).parent.parent
    modules = {Path(*path.relative_to(core).parts[:2]).stem for path in core.rglob("*.py")} - {"__init__"}
    missing = {name for name in modules if not (tests / ELSEWHERE.get(name, f"core/test_{name}.py")).exists()}
    assert missing == set()
