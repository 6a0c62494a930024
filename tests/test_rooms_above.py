"""No circle of imports, those for annotations alone included. The order of the rooms is in pyproject.toml."""

from graphlib import TopologicalSorter

import grimp


def test_imports_of_modules_make_no_circle():
    graph = grimp.build_graph("fastbp", cache_dir=None)
    assert len(graph.modules) > 100
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()
