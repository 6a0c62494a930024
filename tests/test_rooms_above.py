"""No circle of imports, those for annotations alone included. The order of the rooms is in pyproject.toml."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

import fastbp


def test_imports_of_modules_make_no_circle():
    graph = grimp.build_graph("fastbp", cache_dir=None)
    assert len(graph.modules) > 100
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()


def test_only_model_py_touches_private_attributes_of_a_model():
    """Except for the momentum that scikit-learn's learning rates rescale. In bench, models are of other libraries."""
    folder = Path(fastbp.__file__).parent
    touching = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if "bench" not in path.parts
        if re.search(r"\b(model|twin|double)\._[a-z]", path.read_text(encoding="utf-8"))
    }
    assert touching == {"model.py", "sklearn/solvers.py"}
