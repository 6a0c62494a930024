"""Network: the frozen specification of a fully connected network, and the place of its parameters in theta."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.activations import Activation, AnyActivation, as_activation
from fastbp.core.formulas.activations import ACTIVATIONS
from fastbp.core.layers.activation_kernels import OUTPUT_ONLY
from fastbp.initial import Initial, initial_parameters
from fastbp.inputs.checks import positive_int
from fastbp.scaling import Scaling

Array = NDArray[Any]

MOST_PARAMETERS = 1 << 58
"""The most whose bytes have addresses of 63 bits."""


@dataclass(frozen=True)
class Network:
    """A fully connected network: layer sizes, input first; activations; with or without biases.

    hidden is one activation (a name or a `fastbp.Activation`) for all hidden layers or one for each; output may also be
    "softmax". Parameters are one flat vector theta in the order w(1), b(1), …, w(L), b(L); element k * n_out + j of a
    weight block is w_jk. scaling: of the inputs before the first layer, and of the outputs behind the last one.

    Raises ValueError or TypeError that name the argument.
    """

    sizes: tuple[int, ...]
    hidden: tuple[AnyActivation, ...] = ("relu",)
    output: AnyActivation = "identity"
    bias: bool = True
    scaling: Scaling | None = None

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: AnyActivation | Sequence[AnyActivation] = "relu",
        output: AnyActivation = "identity",
        bias: bool = True,
        scaling: Scaling | None = None,
    ) -> None:
        if isinstance(sizes, (str, int, Set, Mapping)) or not hasattr(sizes, "__len__"):
            raise TypeError(f"sizes must be a sequence of layer sizes like (4, 16, 3), got {sizes!r}")
        if len(sizes) < 2:
            raise ValueError(f"sizes must name at least the inputs and the outputs, got {tuple(sizes)}")
        checked = tuple(positive_int(f"sizes[{l}]", size) for l, size in enumerate(sizes))
        if (count := sum((n_in + 1) * n_out for n_in, n_out in pairwise(checked))) > MOST_PARAMETERS:
            raise ValueError(f"sizes must make up at most {MOST_PARAMETERS} parameters, got {checked}: {count}")
        if not isinstance(hidden, (str, Activation, Sequence)):
            raise TypeError(f"hidden must be an activation or a sequence of them, got {hidden!r}")
        if isinstance(hidden, (str, Activation)):
            hidden = [as_activation("hidden", hidden, ACTIVATIONS)] * (len(checked) - 2)
        layers = tuple(hidden)
        if len(layers) != len(checked) - 2:
            raise ValueError(
                f"hidden must be one activation or one for each of the {len(checked) - 2} hidden layers, "
                f"got {len(layers)}: {layers}"
            )
        for activation in layers:
            as_activation("hidden", activation, ACTIVATIONS)
        as_activation("output", output, (*ACTIVATIONS, *OUTPUT_ONLY))
        custom = {activation for activation in (*layers, output) if isinstance(activation, Activation)}
        if len({activation.name for activation in custom}) < len(custom):
            raise ValueError(
                f"hidden and output must not have different activations of one name, got {(*layers, output)}"
            )
        if not isinstance(bias, (bool, np.bool_)):
            raise TypeError(f"bias must be True or False, got {bias!r}")
        fields = {"sizes": checked, "hidden": layers, "output": output, "bias": bool(bias), "scaling": scaling}
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @property
    def n_layers(self) -> int:
        """Layers with weights: one less than sizes."""
        return len(self.sizes) - 1

    @property
    def n_inputs(self) -> int:
        """Neurons of the input layer: columns of X."""
        return self.sizes[0]

    @property
    def n_outputs(self) -> int:
        """Neurons of the output layer."""
        return self.sizes[-1]

    @property
    def activations(self) -> tuple[AnyActivation, ...]:
        """One for each layer with weights."""
        return (*self.hidden, self.output)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where the weights of each layer begin in theta; last, the length of theta."""
        lengths = ((n_in + self.bias) * n_out for n_in, n_out in pairwise(self.sizes))
        return tuple(accumulate(lengths, initial=0))

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        return self.offsets[-1]

    @property
    def flops(self) -> int:
        """Floating-point operations of a training step for one example: forward, deltas (not for the inputs), weights'
        gradients.
        """
        products = sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))
        return 6 * products - 2 * self.sizes[0] * self.sizes[1]

    def weights(self, theta: Array) -> tuple[Array, ...]:
        """w_jk of each layer: views into theta, shape (n_out, n_in)."""
        return tuple(
            theta[offset : offset + n_in * n_out].reshape(n_in, n_out).T
            for offset, (n_in, n_out) in zip(self.offsets, pairwise(self.sizes), strict=False)
        )

    def biases(self, theta: Array) -> tuple[Array, ...]:
        """b_j of each layer: views into theta, shape (n_out,); no views if the network has no biases."""
        if not self.bias:
            return ()
        ends = self.offsets[1:]
        return tuple(theta[end - n_out : end] for end, n_out in zip(ends, self.sizes[1:], strict=True))

    def initial(self, initial: Initial = "auto", seed: int = 0, dtype: DTypeLike = "float32") -> Array:
        """A new theta: drawn by a named formula, or the user's arrays; see `fastbp.initial`."""
        return initial_parameters(self.sizes, self.activations, self.bias, initial, seed, dtype)


@lru_cache(maxsize=64)
def with_scaling(network: Network, scaling: Scaling | None) -> Network:
    """The network with this scaling; the same object each time, as tables are cached by it."""
    return replace(network, scaling=scaling)
