"""What fastbp.jit calls: a table of the derivatives, the arrays that each takes, and its entry point.

All entry points have one form: (derivatives, theta, the address of each array or 0 for None, rows, workspace). They
decide by the rows of the whole call what the kernels of Python's calls are told, and call these by address.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from numba.extending import register_jitable

from fastbp.core.derivatives.curvature import adding_penalty
from fastbp.core.derivatives.frame import frame_size
from fastbp.core.ir.flush_to_zero import flush_subnormals, restore_mode
from fastbp.core.ir.kernel import INT, POINTERS, VOID, call, call_int, kernel
from fastbp.core.ir.memory import data_of, doubles_at, floats_at
from fastbp.core.ir.views import viewing
from fastbp.core.slots import DERIVATIVES, Derivatives, Net, layer_of
from fastbp.core.workspace import few_of, shards_of

FIRST = Derivatives.vjp  # the first of the entry points' fields
net_behind = viewing(Net, begin=Derivatives.slots)
net_at = viewing(Net)
derivatives_at = viewing(Derivatives, step=1)
net_of_cost = viewing(Net, step=1)


def index_of(name: str) -> int:
    """Of the entry point among all."""
    return int(getattr(Derivatives, name)) - FIRST


WIDTHS = {"inputs": "n_inputs", "outputs": "n_outputs", "targets": "n_targets", "parameters": "n_parameters"}


class Argument(NamedTuple):
    """An array of a call. shape: words of WIDTHS, and "rows", which may be left out for one row."""

    name: str
    shape: tuple[str, ...]
    written: bool = False
    optional: bool = False

    @property
    def wanted(self) -> str:
        """Its shape, for people."""
        words = [WIDTHS.get(word, "n") for word in self.shape]
        listed = "({})".format(", ".join(words) + "," * (len(words) == 1))
        if self.shape[0] != "rows":
            return listed
        return f"{listed}, or {'({})'.format(', '.join(words[1:]) + ',' * (len(words) == 2))} for one row"


class Entry(NamedTuple):
    """A function of fastbp.jit: its arrays in the order of the call, what it does, and its entry point for a size.

    needs: of which argument at least one must be given; objective: whether it needs the loss.
    """

    arguments: tuple[Argument, ...]
    says: str
    kernel: Callable[[int], Any]
    objective: bool = False
    one_of: tuple[str, ...] = ()


X, Y = Argument("X", ("rows", "inputs")), Argument("y", ("rows", "targets"))
PRODUCT = Argument("v", ("parameters",)), Argument("out", ("parameters",), written=True)


@functools.cache
def vjp(size):
    """Overwrites dX (rows, n_in) and dtheta, where wanted, for X and the cotangent (rows, n_out)."""
    P, own = POINTERS[size], index_of("vjp")

    @kernel(VOID(DERIVATIVES, P, INT, INT, INT, INT, INT, P), size)
    def vjp(derivatives, theta, x, cotangent, dx, dtheta, rows, workspace):
        net = net_behind(derivatives, 0)
        shards = shards_of(net, rows) if dtheta != 0 else 1
        few, inputs, cotangents = few_of(net, rows), floats_at(x, size), floats_at(cotangent, size)
        call(derivatives.kernels[own], net, theta, dx, dtheta, inputs, cotangents, rows, shards, few, workspace)

    return vjp


@functools.cache
def jvp(size):
    """Overwrites y and dy (rows, n_out) for X and its directions dX and dtheta, each 0 for none."""
    P, own = POINTERS[size], index_of("jvp")

    @kernel(VOID(DERIVATIVES, P, INT, INT, INT, INT, INT, INT, P), size)
    def jvp(derivatives, theta, x, dx, dtheta, y, dy, rows, workspace):
        net = net_behind(derivatives, 0)
        outputs, along, inputs = floats_at(y, size), floats_at(dy, size), floats_at(x, size)
        call(derivatives.kernels[own], net, theta, outputs, along, inputs, dx, dtheta, rows, workspace)

    return jvp


@functools.cache
def of_inputs(name, size):
    """Overwrites out, whose shape is that of the derivative `name`, for X."""
    P, own = POINTERS[size], index_of(name)

    @kernel(VOID(DERIVATIVES, P, INT, INT, INT, P), name, size)
    def of_inputs(derivatives, theta, x, out, rows, workspace):
        net = net_behind(derivatives, 0)
        few, written, inputs = few_of(net, rows), floats_at(out, size), floats_at(x, size)
        call(derivatives.kernels[own], net, theta, written, inputs, rows, few, workspace)

    return of_inputs


@functools.cache
def example_gradients(size):
    """Overwrites out (rows, parameters) for X and y."""
    P, own = POINTERS[size], index_of("example_gradients")

    @kernel(VOID(DERIVATIVES, P, INT, INT, INT, INT, P), size)
    def example_gradients(derivatives, theta, x, y, out, rows, workspace):
        net = net_of_cost(derivatives, derivatives.of_cost)
        inputs, targets, written = floats_at(x, size), floats_at(y, size), floats_at(out, size)
        call(derivatives.kernels[own], net, theta, written, inputs, targets, rows, few_of(net, rows), workspace)

    return example_gradients


@functools.cache
def of_curvature(name, size):
    """Overwrites out, like θ, by the product of the matrix `name` with v, for X and y without weights."""
    P, own, penalise = POINTERS[size], index_of(name), adding_penalty(size)

    @kernel(VOID(DERIVATIVES, P, INT, INT, INT, INT, INT, P), name, size)
    def of_curvature(derivatives, theta, x, y, v, out, rows, workspace):
        net, direction, written = (
            net_of_cost(derivatives, derivatives.of_cost),
            floats_at(v, size),
            floats_at(out, size),
        )
        scale, shards, few = 1.0 / rows if net.mean != 0 else 1.0, shards_of(net, rows), few_of(net, rows)
        inputs, targets = floats_at(x, size), floats_at(y, size)
        call(
            derivatives.kernels[own], net, theta, written, inputs, targets, direction, 0, rows, shards, few, scale,
            workspace,
        )  # fmt: skip
        if net.l2 != 0.0:
            penalise(net, written, direction)

    return of_curvature


@functools.cache
def apply_gradient(size):
    """Changes theta and the moments by one update. Returns 1 if an element kept its value as it would not be finite."""
    P, own = POINTERS[size], index_of("apply_gradient")

    @kernel(INT(DERIVATIVES, P, P, P, INT), size)
    def apply_gradient(derivatives, theta, gradient, moments, settings):
        net, update = net_behind(derivatives, 0), derivatives.kernels[own]
        numbers, size_of_theta, bad = doubles_at(settings), net.parameters, 0
        mode = flush_subnormals()
        for l in range(net.layers):
            begin = layer_of(net, l).w
            end = layer_of(net, l + 1).w if l + 1 < net.layers else size_of_theta
            biases = begin + layer_of(net, l).n_in * layer_of(net, l).n_out
            bad |= call_int(update, theta, gradient, moments, size_of_theta, begin, end, biases, numbers)
        restore_mode(mode)
        return bad

    return apply_gradient


ENTRIES = {
    "vjp": Entry(
        (
            X,
            Argument("cotangent", ("rows", "outputs")),
            Argument("dX", ("rows", "inputs"), written=True, optional=True),
            Argument("dtheta", ("parameters",), written=True, optional=True),
        ),
        "Overwrites dX and dtheta, None for what is not wanted: Σ_j cotangent_nj ∂y_nj/∂x_nk, Σ_nj cotangent_nj "
        "∂y_nj/∂θ_p.",
        vjp,
        one_of=("dX", "dtheta"),
    ),
    "jvp": Entry(
        (
            X,
            Argument("dX", ("rows", "inputs"), optional=True),
            Argument("dtheta", ("parameters",), optional=True),
            Argument("y", ("rows", "outputs"), written=True),
            Argument("dy", ("rows", "outputs"), written=True),
        ),
        "Overwrites y by the outputs, dy by their derivative along dX and dtheta; None for no motion.",
        jvp,
        one_of=("dX", "dtheta"),
    ),
    "input_jacobian": Entry(
        (X, Argument("out", ("rows", "outputs", "inputs"), written=True)),
        "Overwrites out: ∂y_nj/∂x_nk.",
        functools.partial(of_inputs, "input_jacobian"),
    ),
    "input_hessian": Entry(
        (X, Argument("out", ("rows", "outputs", "inputs", "inputs"), written=True)),
        "Overwrites out: ∂²y_nj/∂x_nk∂x_nm.",
        functools.partial(of_inputs, "input_hessian"),
    ),
    "parameter_jacobian": Entry(
        (X, Argument("out", ("rows", "outputs", "parameters"), written=True)),
        "Overwrites out: ∂y_nj/∂θ_p.",
        functools.partial(of_inputs, "parameter_jacobian"),
    ),
    "example_gradients": Entry(
        (X, Y, Argument("out", ("rows", "parameters"), written=True)),
        "Overwrites out: the gradient of each example's loss, unweighted, without penalties.",
        example_gradients,
        objective=True,
    ),
    "hessian_vector_product": Entry(
        (X, Y, *PRODUCT),
        "Overwrites out: the product of v and the Hessian in θ of the cost of `value_and_gradient`.",
        functools.partial(of_curvature, "hessian_vector_product"),
        objective=True,
    ),
    "gauss_newton_vector_product": Entry(
        (X, Y, *PRODUCT),
        "Overwrites out: the product of v and the Gauss-Newton matrix of that cost.",
        functools.partial(of_curvature, "gauss_newton_vector_product"),
        objective=True,
    ),
}
"""The derivatives in fastbp.jit: one row each, from which its function, checks, messages and workspace follow."""


@functools.cache
def needed(size):
    """Elements of the workspace of entry point `what` for up to `rows` examples."""

    @kernel(INT(DERIVATIVES, INT, INT), size)
    def needed(derivatives, rows, what):
        net = net_behind(derivatives, 0)
        return frame_size(net, rows, derivatives.directions[what], derivatives.orders[what])

    return needed


@register_jitable
def derivatives_of(net):
    """The `Derivatives` in a network table that is an array and has them."""
    return derivatives_at(data_of(net), net_at(data_of(net), 0).derivatives)


@register_jitable
def entry_of(net, what):
    """The address of an entry point, 0 if the table has none."""
    if net_at(data_of(net), 0).derivatives == 0:
        return 0
    return derivatives_of(net)[FIRST + what]


@register_jitable
def derivative_workspace(net, rows, what):
    """`needed`, by address: a user's cached code holds no sizes of an older fastbp."""
    return call_int(derivatives_of(net).needed, derivatives_of(net), rows, what)
