"""fastbp info: describes the installation or a model file."""

import argparse
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

import fastbp
from fastbp.cli.common import load
from fastbp.core.ir.cache import cache_directory
from fastbp.core.ir.kernel import host_cpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, and `run`."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints a model, or versions, CPU and cache."""
    if options.model:
        model = load(options.model)
        print(model)
        print(f"{model.network.n_parameters:,} parameters, {os.path.getsize(options.model):,} bytes on disk")
        return
    import numba

    print(f"fastbp    {fastbp.__version__} ({Path(fastbp.__file__).parent})")
    print(f"python    {platform.python_version()} on {platform.platform()}")
    print(f"packages  numpy {np.__version__}, numba {numba.__version__}, llvmlite {version('llvmlite')}")
    print(f"cpu       {_cpu()}")
    print(f"cache     {cache_directory() or 'no folder is writable: kernels are compiled in every process'}")


def _cpu() -> str:
    name, features = host_cpu()
    lanes = next((feature for feature in ("avx512f", "avx2", "avx", "neon") if feature in features), "no wide vectors")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name} with {lanes}, {available} cores"
