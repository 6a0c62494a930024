"""A physics-informed network: y'' = -y with y(0) = 0 and y'(0) = 1, without a single value of the solution sin t.

The cost is the mean of (y'' + y)² over points in time plus y(0)² + (y'(0) - 1)² (Lagaris, Likas and Fotiadis, IEEE
Transactions on Neural Networks 9, 1998). `taylor` gives y, y' and y'' along t, `taylor_vjp` the exact gradient in the
parameters of a cost in the three.

    python examples/pinn.py
"""

import numpy as np
from scipy.optimize import minimize

import fastbp

END = np.pi


def main():
    model = fastbp.Model((1, 16, 1), hidden="tanh", dtype="float64")
    t = np.linspace(0, END, 50)[:, None]  # the first is 0
    along = np.ones_like(t)

    def cost_and_gradient(theta):
        model.parameters = theta
        y, dy, ddy = model.taylor(t, along, order=2)
        residual, c, dc = ddy + y, np.zeros_like(y), np.zeros_like(y)
        c[0], dc[0] = 2 * y[0], 2 * (dy[0] - 1)
        of_residual = 2 * residual / len(t)
        cost = (residual**2).mean() + y[0, 0] ** 2 + (dy[0, 0] - 1) ** 2
        return cost, model.taylor_vjp(t, along, (c + of_residual, dc, of_residual))

    options = {"maxiter": 2000, "maxfun": 5000, "maxcor": 60, "ftol": 0, "gtol": 1e-10}
    found = minimize(cost_and_gradient, model.parameters, jac=True, method="L-BFGS-B", options=options)
    model.parameters = found.x
    times = np.linspace(0, END, 1001)[:, None]
    error = abs(model.predict(times) - np.sin(times)).max()
    print(f"cost {found.fun:.2e} after {found.nit} iterations, largest error of sin t: {error:.2e}")
    assert error < 1e-5


if __name__ == "__main__":
    main()
