"""A surrogate of an expensive function, trained with values and gradients, beside values alone.

The function is the flow of water through a borehole (Morris, Mitchell and Ylvisaker, Technometrics 35, 1993): eight
inputs in metres, metres a year and squares of them, from 0.05 to 115,600. An adjoint solver gives the gradient at the
price of some values; here the complex step does (Squire and Trapp, SIAM Review 40, 1998). Gradients are in raw units:
the model scales them as it scales X and y.

    python examples/surrogate_with_derivatives.py
"""

import numpy as np

import fastbp

LOW = np.array([0.05, 100, 63070, 990, 63.1, 700, 1120, 9855])
HIGH = np.array([0.15, 50000, 115600, 1110, 116, 820, 1680, 12045])


def flow(X):
    """Cubic metres a year, (n,)."""
    radius, influence, upper, head_above, lower, head_below, length, conductivity = X.T
    log = np.log(influence / radius)
    leak = 2 * length * upper / (log * radius**2 * conductivity)
    return 2 * np.pi * upper * (head_above - head_below) / (log * (1 + leak + upper / lower))


def gradients(X):
    """∂flow/∂x_k, (n, 8), exact: Im flow(x + i h e_k) / h."""
    return np.stack([flow(X + 1e-30j * unit).imag / 1e-30 for unit in np.eye(8)], axis=1)


def main():
    rng = np.random.default_rng(0)
    X, test = rng.uniform(LOW, HIGH, (60, 8)), rng.uniform(LOW, HIGH, (5000, 8))
    y, truth = flow(X), flow(test)
    errors = []
    for name, derivatives in (("values", {}), ("values and gradients", {"dy": gradients(X)[:, None]})):
        model = fastbp.Model((8, 32, 1), hidden="tanh", dtype="float64", standardize="both")
        rate = fastbp.schedules.Cosine(0.01, steps=2000 * 4)
        model.fit(X, y, epochs=2000, batch_size=15, optimizer=fastbp.Adam(rate), **derivatives)
        errors.append(np.sqrt(np.mean((model.predict(test)[:, 0] - truth) ** 2)) / truth.std())
        print(f"60 points, {name}: {100 * errors[-1]:.1f} % of the standard deviation")
    assert errors[1] < errors[0] / 4


if __name__ == "__main__":
    main()
