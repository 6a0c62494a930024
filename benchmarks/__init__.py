"""Benchmarks for asv: `asv run --quick --python=same` runs each once, on the installed fastbp."""
