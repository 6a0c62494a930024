"""Derivatives: the methods of `Model` for everything that a network's equations can give."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.activations import Activation
from fastbp.engine.derivatives import curvature, operators, products
from fastbp.engine.derivatives import examples as of_examples
from fastbp.engine.derivatives import inputs as in_inputs
from fastbp.engine.derivatives import taylor as along_curves
from fastbp.engine.job import Examples
from fastbp.engine.network_table import Objective
from fastbp.engine.problem import Problem
from fastbp.inputs.arrays import as_vector, as_whole_inputs
from fastbp.inputs.checks import choice, positive_int
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

    def example_gradients(self, X: ArrayLike, y: ArrayLike) -> Array:
        """(n, n_parameters): the gradient of each example's loss C_n, ordered like the parameters.

        Without weights, penalties and the 1/n of a mean; with label smoothing. Columns of frozen layers are 0.
        """
        problem, examples = self._problem, self._losses(X, y)
        return of_examples.gradients(problem.network, self._objective(examples), self.parameters, examples)

    def example_gradient_norms(self, X: ArrayLike, y: ArrayLike) -> Array:
        """(n,): the Euclidean norm of each row of `example_gradients`, without their memory.

        ‖∂C_n/∂theta‖² = Σ_layers Σ_j dz_nj² (Σ_k a_nk² + 1). (I. Goodfellow, arXiv:1510.01799, 2015.)
        """
        problem, examples = self._problem, self._losses(X, y)
        return of_examples.norms(problem.network, self._objective(examples), self.parameters, examples)

    @overload
    def parameter_jacobian(self, X: ArrayLike, chunks: None = None) -> Array: ...

    @overload
    def parameter_jacobian(self, X: ArrayLike, chunks: int) -> Iterator[Array]: ...

    def parameter_jacobian(self, X: ArrayLike, chunks: int | None = None) -> Array | Iterator[Array]:
        """(n, n_outputs, n_parameters): ∂y_nj/∂theta_p, of all parameters, frozen or not.

        chunks: yields it in blocks of at most that many rows instead, for bounded memory; the parameters are read when
        a block is made.
        """
        inputs, network = self._inputs(X), self._problem.network
        rows = len(inputs) if chunks is None else positive_int("chunks", chunks)
        blocks = of_examples.jacobian_blocks(network, self.parameters, inputs, rows)
        return next(blocks) if chunks is None else blocks

    # --- second derivatives in theta --------------------------------------------------------------------------------

    def hessian_vector_product(
        self, X: ArrayLike, y: ArrayLike, v: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Array:
        """Σ_q ∂²C/∂theta_p∂theta_q v_q, like the parameters, of the cost C whose gradient is `value_and_gradient`.

        v: like the parameters. The rows and columns of frozen layers are 0. ValueError for a custom activation or loss
        without `second`. (R. Pearlmutter, Neural Computation 6, 1994.)
        """
        return self._curvature("hessian", X, y, v, sample_weight)

    def gauss_newton_vector_product(
        self, X: ArrayLike, y: ArrayLike, v: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Array:
        """Σ_q G_pq v_q, like the parameters: G = Jᵀ H J and the penalty's curvature, as of `hessian_vector_product`.

        J and H are the derivatives of z and the curvature of C in z of the outputs for a loss with its own output
        (softmax and cross-entropy, sigmoid and binary cross-entropy, exponential and poisson), else those in y, where
        a custom loss's negative ∂²c/∂a² counts as 0. ValueError for absolute_error, quantile, hinge and gaussian_nll,
        and for a custom loss without `second`. (N. Schraudolph, Neural Computation 14, 2002.)
        """
        return self._curvature("gauss_newton", X, y, v, sample_weight)

    def linear_operator(
        self, kind: str, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Any:
        """A scipy.sparse.linalg.LinearOperator; kind: "jacobian", "hessian" or "gauss_newton".

        "jacobian": ∂y_nj/∂theta_p, (n · n_outputs, n_parameters), matvec by `jvp`, rmatvec by `vjp`. The other two:
        (n_parameters, n_parameters), by `hessian_vector_product` and `gauss_newton_vector_product` with y and weights.
        X, y and weights are kept, not copied; the parameters are read at each product. ImportError without SciPy.
        """
        count, dtype = self.parameters.size, self._problem.dtype
        if choice("kind", kind, ("jacobian", *curvature.KERNELS)) == "jacobian":
            inputs, network = self._inputs(X), self._problem.network
            outputs = len(inputs), network.n_outputs

            def along(v: Array) -> Array:
                return self.jvp(inputs, dtheta=v.reshape(-1))[1].reshape(-1)

            def back(u: Array) -> Array:
                return self.vjp(inputs, u.reshape(outputs))[1]

            return operators.linear_operator((outputs[0] * outputs[1], count), dtype, along, back)
        if y is None:
            raise ValueError(f"linear_operator({kind!r}) needs y, got None")
        curvature.check(self._problem.network, self._problem.loss, kind)
        examples = self._losses(X, y, sample_weight)

        def times(v: Array) -> Array:
            return self._product(kind, examples, self._vector(v.reshape(-1), "v"))

        return operators.linear_operator((count, count), dtype, times, times)

    def _curvature(self, kind: str, X: ArrayLike, y: ArrayLike, v: ArrayLike, weights: ArrayLike | None) -> Array:
        curvature.check(self._problem.network, self._problem.loss, kind)
        return self._product(kind, self._losses(X, y, weights), self._vector(v, "v"))

    def _product(self, kind: str, examples: Examples, v: Array) -> Array:
        objective = self._objective(examples)
        return curvature.vector_product(self._problem.network, objective, self.parameters, examples, v, kind)

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

    def _losses(self, X: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Examples:
        """The examples as training takes them, with smoothed labels."""
        return self._problem.smoothed(self._problem.examples(X, y, weights, whole=True))

    def _objective(self, examples: Examples) -> Objective:
        return self._problem.objective(examples.y.ndim == 1)

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
