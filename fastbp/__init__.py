"""Fully-connected neural networks, trained by backpropagation on the CPU in Numba-compiled loops."""

from fastbp import jit
from fastbp.model import Model
from fastbp.network import Network
from fastbp.optimizers import SGD, Adam
from fastbp.training import History

__version__ = "0.1.0"
__all__ = ["SGD", "Adam", "History", "Model", "Network", "__version__", "jit"]
