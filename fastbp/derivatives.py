"""Derivatives: the methods of `Model` for everything that a network's equations can give."""

from collections.abc import Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.engine.derivatives import curvature, operators, products
from fastbp.engine.derivatives import examples as examples_
from fastbp.engine.job import Examples
from fastbp.engine.network_table import Objective
from fastbp.engine.problem import Problem
from fastbp.inputs.arrays import as_vector, as_whole_inputs
from fastbp.inputs.checks import choice, positive_int

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

    # --- one example at a time --------------------------------------------------------------------------------------

    def example_gradients(self, X: ArrayLike, y: ArrayLike) -> Array:
        """(n, n_parameters): the gradient of each example's loss C_n, ordered like the parameters.

        Without weights, penalties and the 1/n of a mean; with label smoothing. Columns of frozen layers are 0.
        """
        problem, examples = self._problem, self._losses(X, y)
        return examples_.gradients(problem.network, self._objective(examples), self.parameters, examples)

    def example_gradient_norms(self, X: ArrayLike, y: ArrayLike) -> Array:
        """(n,): the Euclidean norm of each row of `example_gradients`, without their memory.

        ‖∂C_n/∂theta‖² = Σ_layers Σ_j dz_nj² (Σ_k a_nk² + 1). (I. Goodfellow, arXiv:1510.01799, 2015.)
        """
        problem, examples = self._problem, self._losses(X, y)
        return examples_.norms(problem.network, self._objective(examples), self.parameters, examples)

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
        blocks = examples_.jacobian_blocks(network, self.parameters, inputs, rows)
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
        X, y and weights are kept; the parameters are read at each product. ImportError without SciPy.
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

    def _vector(self, array: ArrayLike, name: str) -> Array:
        return as_vector(array, self.parameters.size, self._problem.dtype, name)
