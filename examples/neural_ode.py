"""A neural ODE: a network learns the Lotka-Volterra equations of prey and predators from trajectories alone.

`flow` integrates many trajectories by the classical Runge-Kutta method; `adjoint` goes back through its stages, each a
vector-Jacobian product, to the exact gradient of what `flow` computes (Hager, Numerische Mathematik 87, 2000).

    python examples/neural_ode.py
"""

import numba
import numpy as np
from scipy.integrate import solve_ivp

import fastbp
import fastbp.jit

H, STEPS, PERIOD, ROUNDS = 0.1, 10, 80, 3000
NODES, WEIGHTS = np.array([0, 1 / 2, 1 / 2, 1]), np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6])


def measured(x, steps):
    """The true logarithms of prey and predators (steps + 1, n, 2), H apart, from x (n, 2)."""

    def slope(_, flat):
        prey, predators = np.exp(flat.reshape(-1, 2).T)
        return np.stack([2 / 3 - 4 / 3 * predators, prey - 1], axis=1).ravel()

    times = H * np.arange(steps + 1)
    return solve_ivp(slope, (0, times[-1]), x.ravel(), t_eval=times, rtol=1e-9, atol=1e-9).y.T.reshape(-1, *x.shape)


@numba.njit
def flow(net, theta, x, stages, slope, work):
    """Overwrites x[1:] by the states after x[0], stages by where the slopes of each step were taken, and slope."""
    for t in range(len(x) - 1):
        x[t + 1], slope[:] = x[t], 0.0
        for s in range(4):
            stages[t, s] = x[t] + H * NODES[s] * slope
            fastbp.jit.predict(net, theta, stages[t, s], slope, work)
            x[t + 1] += H * WEIGHTS[s] * slope


@numba.njit
def adjoint(net, theta, x, y, stages, gradient, work):
    """The mean squared difference of x and y. Overwrites the gradient by its gradient in theta."""
    part, back, d_x, gradient[:] = np.empty_like(gradient), np.empty_like(x[0]), np.zeros_like(x[0]), 0.0
    for t in range(len(x) - 2, -1, -1):
        d_x += 2 / y.size * (x[t + 1] - y[t + 1])  # now ∂cost/∂x[t + 1]
        d_end, d_next = d_x.copy(), np.zeros_like(d_x)
        for s in range(3, -1, -1):
            fastbp.jit.vjp(net, theta, stages[t, s], H * WEIGHTS[s] * d_end + d_next, back, part, work)
            gradient += part
            d_x += back
            d_next = H * NODES[s] * back  # this stage lies along the slope of the one before
    return ((x - y) ** 2).mean()


def main():
    y = measured(np.log(np.random.default_rng(0).uniform(0.1, 2.0, (40, 2))), STEPS)
    scaling = fastbp.Scaling(y.mean(axis=(0, 1)), y.std(axis=(0, 1)))
    model = fastbp.Model((2, 32, 2), hidden="tanh", dtype="float64", standardize=scaling)
    model.optimizer = fastbp.Adam(fastbp.schedules.Cosine(0.05, steps=ROUNDS))
    net, theta, work = model.compiled("vjp"), model.parameters, model.workspace(len(y[0]), "vjp")
    x, stages, slope, gradient = y.copy(), np.empty((STEPS, 4, *y[0].shape)), np.empty_like(y[0]), np.empty_like(theta)
    for _ in range(ROUNDS):
        flow(net, theta, x, stages, slope, work)
        cost = adjoint(net, theta, x, y, stages, gradient, work)
        model.apply_gradient(gradient)
    print(f"mean squared difference of the trajectories after {ROUNDS} rounds: {cost:.1e}")

    orbit = measured(np.log([[1.0, 1.2]]), PERIOD)  # eight times as long as those it has seen
    x = orbit.copy()
    flow(net, theta, x, np.empty((PERIOD, 4, 1, 2)), np.empty((1, 2)), work)
    error = abs(np.exp(x) - np.exp(orbit)).max()
    print(f"a whole period that it has not seen: the largest error is {error:.3f}, of {np.exp(orbit).max():.1f}")
    assert error < 0.05


if __name__ == "__main__":
    main()
