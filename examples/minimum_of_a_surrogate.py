"""The minimum of a function that is too expensive to minimize: a surrogate learns it, SciPy descends on the surrogate.

The function is Branin's (IBM Journal of Research and Development 16, 1972), with the minimum 0.397887 at three places.
`Model.input_gradient` is the exact gradient of the surrogate, in the units of x.

    python examples/minimum_of_a_surrogate.py
"""

import numpy as np
from scipy.optimize import minimize

import fastbp

LOW, HIGH = np.array([-5.0, 0.0]), np.array([10.0, 15.0])
PLACES = np.array([[-np.pi, 12.275], [np.pi, 2.275], [3 * np.pi, 2.475]])


def branin(X):
    x, y = X.T
    return (y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10


def main():
    rng = np.random.default_rng(0)
    X = rng.uniform(LOW, HIGH, (1000, 2))
    model = fastbp.Model((2, 32, 32, 1), hidden="tanh", dtype="float64", standardize="both")
    rate = fastbp.schedules.Cosine(0.01, steps=1000 * 32)
    model.fit(X, branin(X), epochs=1000, optimizer=fastbp.Adam(rate))

    def value_and_slope(x):
        return model.predict(x[None])[0, 0], model.input_gradient(x[None])[0]

    bounds = list(zip(LOW, HIGH, strict=True))
    starts = rng.uniform(LOW, HIGH, (10, 2))
    found = [minimize(value_and_slope, x, jac=True, method="L-BFGS-B", bounds=bounds) for x in starts]
    best = min(found, key=lambda result: result.fun)
    distance = np.linalg.norm(PLACES - best.x, axis=1).min()
    value = branin(best.x[None])[0]
    print(f"{len(X)} values; found x = {best.x.round(3)} in {best.nfev} evaluations of the surrogate")
    print(f"there the function is {value:.4f}, and a minimum is {distance:.3f} away")
    assert distance < 0.2
    assert value < 0.41


if __name__ == "__main__":
    main()
