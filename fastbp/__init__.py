"""Fully-connected neural networks, trained by backpropagation on the CPU in Numba-compiled loops."""

from fastbp import jit
from fastbp.callbacks import Callback, EarlyStopping, State
from fastbp.custom_activation import Activation
from fastbp.history import History
from fastbp.model import Model
from fastbp.network import Network
from fastbp.optimizers import SGD, Adam

__version__ = "0.1.0"
__all__ = [
    "SGD", "Activation", "Adam", "Callback", "EarlyStopping", "History", "Model", "Network", "State", "__version__",
    "jit",
]  # fmt: skip
