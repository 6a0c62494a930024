"""The derivatives behind the network table of `Model.compiled`, and the workspaces that they need."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.core.derivatives import curvature, entries, example_gradients, hessian, products
from fastbp.core.derivatives.entries import ENTRIES, FIRST, index_of
from fastbp.core.derivatives.frame import frame_size
from fastbp.core.ir.kernel import Kernel
from fastbp.core.slots import Derivatives, Net
from fastbp.core.step.update import update
from fastbp.engine.derivatives.inputs import jacobian_of
from fastbp.engine.derivatives.table import derivative_table
from fastbp.engine.network_table import Objective
from fastbp.network import Network
from fastbp.optimizers import Optimizer, ScheduledOptimizer, n_moments
from fastbp.schedules import START


class Use(NamedTuple):
    """How an entry point uses a kernel: the directions and orders of its frame."""

    kernel: Kernel
    directions: int
    orders: int


USES: dict[str, Callable[[Network, int], Use]] = {
    "vjp": lambda network, size: Use(products.vjp(size), 1, 0),
    "jvp": lambda network, size: Use(products.jvp(size), 1, 1),
    "input_jacobian": lambda network, size: Use(*jacobian_of(network, size), 1),
    "input_hessian": lambda network, size: Use(
        hessian.input_hessian(size, network.output == "softmax"), network.n_inputs, 2
    ),
    "parameter_jacobian": lambda network, size: Use(example_gradients.parameter_jacobian(size), network.n_outputs, 1),
    "example_gradients": lambda network, size: Use(example_gradients.example_gradients(size), 1, 0),
    "hessian_vector_product": lambda network, size: Use(curvature.hessian_vector_product(size), 1, 1),
    "gauss_newton_vector_product": lambda network, size: Use(curvature.gauss_newton_vector_product(size), 1, 1),
}
"""The same kernels, with the same numbers, as from Python."""

SECOND = {"input_hessian", "hessian_vector_product"}
"""Those whose kernels take the activations' second derivatives."""

CURVATURE = {"hessian_vector_product", "gauss_newton_vector_product"}
"""Those whose kernels take the loss's second derivatives."""

NAMES = (*USES, "apply_gradient")


def checked(names: Sequence[object]) -> tuple[str, ...]:
    """The names; ValueError for one that is none."""
    for name in names:
        if name not in NAMES:
            raise ValueError(f"derivatives must be among {', '.join(map(repr, NAMES))}, got {name!r}")
    return tuple(map(str, names))


def table_for(names: Sequence[str], network: Network, size: int, objective: Objective) -> NDArray[np.int64]:
    """The table for derivatives by these names, with the loss and second derivatives where one of them needs it."""
    needs_loss = any(name in ENTRIES and ENTRIES[name].objective for name in names)
    return derivative_table(
        network,
        size,
        objective if needs_loss else None,
        second=not SECOND.isdisjoint(names),
        curvature=not CURVATURE.isdisjoint(names),
    )


def with_derivatives(
    net: NDArray[np.int64], names: Sequence[str], network: Network, objective: Objective, optimizer: Optimizer
) -> NDArray[np.int64]:
    """A table of `embedded_table`, and behind it the `Derivatives` by these names and the tables that they use.

    objective: with classes only if the loss takes class indices, not rows of smoothed labels.
    """
    size, header = int(net[Net.size]), np.zeros(Derivatives.slots, np.int64)
    header[Derivatives.needed] = entries.needed(size).address
    for name in names:
        at = index_of(name)
        if name == "apply_gradient":
            header[FIRST + at] = entries.apply_gradient(size).address
            header[Derivatives.kernels + at] = update(optimizer.rule, size).address
            header[Derivatives.moments] = n_moments(optimizer)
            header[Derivatives.settings] = ScheduledOptimizer(optimizer, START).settings(0, 1).shape[1]
            continue
        use = USES[name](network, size)
        header[FIRST + at] = ENTRIES[name].kernel(size).address
        header[Derivatives.kernels + at] = use.kernel.address
        header[Derivatives.directions + at], header[Derivatives.orders + at] = use.directions, use.orders
    tables = [table_for(names, network, size, each).copy() for each in (replace(objective, trainable=()), objective)]
    for own in tables:
        for slot in (Net.targets, Net.classes, Net.kept, Net.spread):  # of the caller's y
            own[slot] = net[slot]
    header[Derivatives.of_cost] = len(header) + len(tables[0])
    table = np.concatenate([net, header, *tables])
    table[Net.derivatives], table[Net.length] = len(net), len(table)
    return table


def workspace_size(names: Sequence[str], network: Network, size: int, objective: Objective, rows: int) -> int:
    """Elements for one thread's calls of these derivatives with up to `rows` rows, smoothed or not."""
    net = table_for(names, network, size, objective).copy()
    net[Net.target_row], net[Net.kept] = network.n_outputs, 1
    uses = [USES[name](network, size) for name in names if name in USES]
    return max((int(frame_size(net, rows, use.directions, use.orders)) for use in uses), default=0)
