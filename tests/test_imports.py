"""No import cycles, imports for annotations included; no private attributes of other modules."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

import fastbp


def test_modules_import_each_other_without_cycles():
    graph = grimp.build_graph("fastbp", cache_dir=None)
    assert len(graph.modules) > 100
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()


def private_attributes(tree):
    """(owner, name) of each access to a private attribute; the owner is an expression, None for self and cls.

    `_replace` is a public method of named tuples.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr) and node.attr != "_replace":
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            yield None if own else ast.unparse(node.value), node.attr


ESTIMATORS = {"e", "self.estimator", "estimator", "converted"}
"""Names of estimators: the modules of sklearn/ share their private attributes, as public ones are parameters there."""


def test_no_module_touches_private_attributes_of_another_modules_classes():
    """Names that no class of fastbp sets belong to other libraries, and so do the models of bench/backends."""
    folder = Path(fastbp.__file__).parent
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")}
    homes = defaultdict(set)
    for path, tree in trees.items():
        methods = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for name in methods | {name for owner, name in private_attributes(tree) if owner is None}:
            homes[name].add(path)
    touched = {
        f"{path.relative_to(folder)}: {owner}.{name}"
        for path, tree in trees.items()
        for owner, name in private_attributes(tree)
        if owner is not None and homes[name] and path not in homes[name]
        if not (path.parent.name == "sklearn" and owner in ESTIMATORS) and path.parent.name != "backends"
    }
    assert touched == set()
