"""Fully-connected neural networks, trained by backpropagation on the CPU in Numba-compiled loops."""

from typing import TYPE_CHECKING, Any

from fastbp import jit, schedules
from fastbp.activations import Activation
from fastbp.callbacks import Callback, EarlyStopping, State
from fastbp.custom_loss import Loss
from fastbp.engine.thread_limit import set_threads, thread_limit
from fastbp.history import History
from fastbp.losses import Huber, Quantile
from fastbp.model import Model
from fastbp.network import Network
from fastbp.optimizers import SGD, Adagrad, Adam, AdamW, NAdam, RMSprop, Rprop
from fastbp.scaling import Scaling

if TYPE_CHECKING:
    from fastbp.table.model import TableModel

__version__ = "0.1.0"
__all__ = [
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Callback",
    "EarlyStopping",
    "History",
    "Huber",
    "Loss",
    "Model",
    "NAdam",
    "Network",
    "Quantile",
    "RMSprop",
    "Rprop",
    "Scaling",
    "State",
    "TableModel",
    "__version__",
    "jit",
    "schedules",
    "set_threads",
    "thread_limit",
]


def __getattr__(name: str) -> Any:
    """TableModel on first use: who has arrays need not wait for its modules."""
    if name == "TableModel":
        from fastbp.table.model import TableModel

        return TableModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
