"""Derivatives: the methods of `Model` for everything that a network's equations can give."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.activations import Activation
from fastbp.engine.derivatives import inputs as in_inputs
from fastbp.engine.derivatives import products
from fastbp.engine.derivatives import taylor as along_curves
from fastbp.engine.problem import Problem
from fastbp.inputs.arrays import as_vector, as_whole_inputs
from fastbp.network import Network

Array = NDArray[Any]


class Derivatives:
    """Methods of `Model`. X (n, n_inputs) is validated as in `predict`; results are new arrays of the model's dtype,
    bit-identical for any number of threads. y stands for the outputs, x for the inputs, theta for all parameters.
    """

    @property
    def parameters(self) -> Array:
        """theta."""
        raise NotImplementedError

    @property
    def _problem(self) -> Problem:
        raise NotImplementedError

    # --- products with the Jacobian ---------------------------------------------------------------------------------

    def jvp(self, X: ArrayLike, dX: ArrayLike | None = None, dtheta: ArrayLike | None = None) -> tuple[Array, Array]:
        """The outputs y and their derivative along a direction: dy = Σ_k ∂y/∂x_k dX_k + Σ_p ∂y/∂theta_p dtheta_p.

        dX: (n, n_inputs); dtheta: ordered like the parameters; None for no motion, but not both. Two (n, n_outputs)
        arrays. (R. Pearlmutter, Neural Computation 6, 1994.)
        """
        if dX is None and dtheta is None:
            raise ValueError("jvp needs a direction: dX, dtheta or both, got neither")
        inputs = self._inputs(X)
        direction = None if dX is None else self._rows(dX, self._problem.network.n_inputs, "dX", len(inputs))
        of_theta = None if dtheta is None else self._vector(dtheta, "dtheta")
        return products.jvp(self._problem.network, self.parameters, inputs, direction, of_theta)

    def vjp(self, X: ArrayLike, cotangent: ArrayLike) -> tuple[Array, Array]:
        """(dX, dtheta) of Σ_n Σ_j cotangent_nj y_nj: dX (n, n_inputs), dtheta like the parameters.

        cotangent: (n, n_outputs); dX_nk = Σ_j cotangent_nj ∂y_nj/∂x_nk, dtheta is summed over the examples.
        """
        inputs = self._inputs(X)
        rows = self._rows(cotangent, self._problem.network.n_outputs, "cotangent", len(inputs))
        dX, dtheta = products.vjp(self._problem.network, self.parameters, inputs, rows)
        assert dX is not None
        assert dtheta is not None
        return dX, dtheta

    # --- derivatives in the inputs ----------------------------------------------------------------------------------

    def input_gradient(self, X: ArrayLike, cotangent: ArrayLike | None = None) -> Array:
        """(n, n_inputs): Σ_j cotangent_nj ∂y_nj/∂x_nk. cotangent: (n, n_outputs); None only for one output: ones."""
        inputs, n_outputs = self._inputs(X), self._problem.network.n_outputs
        if cotangent is None:
            if n_outputs != 1:
                raise ValueError(
                    f"cotangent must be an array (n, {n_outputs}) for a network with {n_outputs} outputs, got None"
                )
            cotangent = np.ones((len(inputs), 1), self._problem.dtype)
        rows = self._rows(cotangent, n_outputs, "cotangent", len(inputs))
        dX, _ = products.vjp(self._problem.network, self.parameters, inputs, rows, parameters=False)
        assert dX is not None
        return dX

    def input_jacobian(self, X: ArrayLike) -> Array:
        """(n, n_outputs, n_inputs): ∂y_nj/∂x_nk, by products along the inputs or the outputs, whichever are fewer."""
        return in_inputs.input_jacobian(self._problem.network, self.parameters, self._inputs(X))

    def input_hessian(self, X: ArrayLike) -> Array:
        """(n, n_outputs, n_inputs, n_inputs): ∂²y_nj/∂x_nk∂x_nm, symmetric to the last bit.

        Σ_l Σ_i ∂y_nj/∂a_i σ''(z_i) ∂z_i/∂x_nk ∂z_i/∂x_nm over the units i of all layers l. ValueError for a custom
        activation without `second`.
        """
        network = self._problem.network
        check_activations(network, "input_hessian", "second")
        return in_inputs.input_hessian(network, self.parameters, self._inputs(X))

    # --- one example at a time --------------------------------------------------------------------------------------

    # --- second derivatives in theta --------------------------------------------------------------------------------

    # --- along curves -----------------------------------------------------------------------------------------------

    def taylor(self, X: ArrayLike, V: ArrayLike, order: int = 1) -> tuple[Array, ...]:
        """(y, y') or with order=2 (y, y', y''): the outputs at X + t V and their derivatives in t, at t = 0.

        V: (n, n_inputs), or (d, n, n_inputs) for d directions. y: (n, n_outputs); y' = Σ_k ∂y/∂x_k V_k and
        y'' = Σ_kl ∂²y/∂x_k∂x_l V_k V_l: (n, n_outputs), or (d, n, n_outputs). ValueError for order 2 with a custom
        activation without `second`. (Griewank & Walther, Evaluating Derivatives, 2nd ed., chapter 13.)
        """
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {order!r}")
        network, inputs = self._problem.network, self._inputs(X)
        if order == 2:
            check_activations(network, "taylor of order 2", "second")
        directions, several = self._directions(V, network.n_inputs, "V", len(inputs))
        y, *primed = along_curves.taylor(network, self.parameters, inputs, directions, order)
        return y, *(each if several else each[0] for each in primed)

    def taylor_vjp(self, X: ArrayLike, V: ArrayLike, cotangents: Sequence[ArrayLike | None]) -> Array:
        """The gradient in theta of Σ c y + Σ c' y' + Σ c'' y'', with y, y' and y'' of `taylor`.

        cotangents: (c, c') or (c, c', c''), each shaped as its y, or None for zeros. Like theta, summed over the
        examples and directions. ValueError for custom activations without `second`; with c'' also for softmax and
        custom activations without `third`.
        """
        network, inputs = self._problem.network, self._inputs(X)
        directions, several = self._directions(V, network.n_inputs, "V", len(inputs))
        given = list(cotangents)
        if len(given) not in (2, 3):
            raise ValueError(f"cotangents must be (c, c') or (c, c', c''), got {len(given)} of them")
        if len(given) == 3 and given[2] is None:
            given.pop()
        check_activations(network, "taylor_vjp", "second")
        if len(given) == 3:
            check_activations(network, "taylor_vjp with the cotangent of y''", "third")
        found: list[Array | None] = [
            None if given[0] is None else self._rows(given[0], network.n_outputs, "cotangents[0]", len(inputs))
        ]
        shape = (*directions.shape[:2], network.n_outputs)
        for i, each in enumerate(given[1:], 1):
            if each is None:
                found.append(None)
                continue
            rows, as_several = self._directions(each, network.n_outputs, f"cotangents[{i}]", len(inputs))
            if rows.shape != shape or as_several != several:
                wanted = shape if several else shape[1:]
                raise ValueError(f"cotangents[{i}] must have shape {wanted}, got {np.asarray(each).shape}")
            found.append(rows)
        return along_curves.taylor_vjp(network, self.parameters, inputs, directions, found)

    # --- validation -------------------------------------------------------------------------------------------------

    def _inputs(self, X: ArrayLike) -> Array:
        return as_whole_inputs(X, self._problem.network.n_inputs, self._problem.dtype)

    def _rows(self, array: ArrayLike, width: int, name: str, rows: int) -> Array:
        """The array (rows, width), of the model's dtype."""
        checked = as_whole_inputs(array, width, self._problem.dtype, name)
        if len(checked) != rows:
            raise ValueError(f"{name} must have a row for each of the {rows} rows of X, got {len(checked)}")
        return checked

    def _directions(self, array: ArrayLike, width: int, name: str, rows: int) -> tuple[Array, bool]:
        """The array (d, rows, width), of the model's dtype; and whether it was given so, else as (rows, width)."""
        if np.ndim(array) != 3:
            return self._rows(array, width, name, rows)[np.newaxis], False
        given = np.asarray(array)
        if given.shape[1] != rows or not len(given):
            raise ValueError(f"{name} must have shape (d, {rows}, {width}) with d >= 1, got {given.shape}")
        return self._rows(given.reshape(-1, given.shape[2]), width, name, given.size // width).reshape(
            given.shape
        ), True

    def _vector(self, array: ArrayLike, name: str) -> Array:
        return as_vector(array, self.parameters.size, self._problem.dtype, name)


def check_activations(network: Network, what: str, needed: str) -> None:
    """ValueError unless every activation has the derivative `needed`, "second" or "third"."""
    for activation in network.activations:
        if activation == "softmax" and needed == "third":
            raise ValueError(f"{what} must be of elementwise activations, got softmax")
        if isinstance(activation, Activation) and getattr(activation, needed) is None:
            raise ValueError(f"{what} needs `{needed}` of every activation, got {activation!r} without it")
