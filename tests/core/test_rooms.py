"""What each room of the package may know: LLVM only below fastbp/core/ir."""

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
