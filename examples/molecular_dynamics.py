"""Molecular dynamics with a learned potential: a cluster of atoms vibrates, and its energy stays.

The network is the energy of a pair of atoms as a function of their distance, learned from values and slopes of a Morse
potential (Physical Review 34, 1929). In a compiled velocity Verlet loop, one `fastbp.jit.vjp` for all pairs gives the
exact slopes of what the network computes. So the energy does not drift; what remains is the integrator's error, a
quarter for half the time step.

    python examples/molecular_dynamics.py
"""

import numba
import numpy as np

import fastbp
import fastbp.jit

PAIRS = np.array([(i, j) for i in range(7) for j in range(i)])


@numba.njit
def distances(x, r):
    for p, (i, j) in enumerate(PAIRS):
        r[p, 0] = np.sqrt(((x[i] - x[j]) ** 2).sum())


@numba.njit
def forces(net, theta, x, r, ones, slope, force, work):
    """Overwrites r, slope (pairs, 1) and force (atoms, 3)."""
    distances(x, r)
    fastbp.jit.vjp(net, theta, r, ones, slope, None, work)
    force[:] = 0.0
    for p, (i, j) in enumerate(PAIRS):
        along = slope[p, 0] / r[p, 0] * (x[i] - x[j])
        force[i] -= along
        force[j] += along


@numba.njit
def verlet(net, theta, x, v, h, steps, work):
    """The energy after each step, of atoms of mass 1. Overwrites x and v."""
    r, slope, force = np.empty((len(PAIRS), 1)), np.empty((len(PAIRS), 1)), np.empty_like(x)
    ones, energies = np.ones_like(r), np.empty(steps)
    pair_energies = np.empty_like(r)
    forces(net, theta, x, r, ones, slope, force, work)
    for step in range(steps):
        v += h / 2 * force
        x += h * v
        forces(net, theta, x, r, ones, slope, force, work)
        v += h / 2 * force
        fastbp.jit.predict(net, theta, r, pair_energies, work)
        energies[step] = pair_energies.sum() + (v**2).sum() / 2
    return energies


def main():
    r = np.linspace(0.7, 3.0, 400)[:, None]
    bond = np.exp(-3 * (r - 1))
    energy, slope = bond * (bond - 2), 6 * bond * (1 - bond)
    model = fastbp.Model((1, 24, 1), hidden="tanh", dtype="float64", standardize="both")
    model.fit(r, energy, epochs=400, optimizer=fastbp.Adam(0.005), dy=slope[:, None])
    net, work = model.compiled("vjp"), model.workspace(len(PAIRS), "vjp")

    angles = 2 * np.pi * np.arange(5) / 5
    ring = 0.85 * np.stack([np.cos(angles), np.sin(angles), np.zeros(5)], axis=1)
    atoms = np.vstack([ring, [[0, 0, 0.5], [0, 0, -0.5]]])  # a pentagonal bipyramid
    velocities = np.random.default_rng(0).normal(0, 0.2, (7, 3))
    ranges = []
    for h in (0.01, 0.005):
        energies = verlet(net, model.parameters, atoms.copy(), velocities.copy(), h, round(100 / h), work)
        ranges.append(np.ptp(energies))
        print(f"time step {h}: energy {energies.mean():.4f}, within {ranges[-1]:.1e} over {len(energies)} steps")
    print(f"half the step, {ranges[0] / ranges[1]:.2f} times less")
    assert 3 < ranges[0] / ranges[1] < 5


if __name__ == "__main__":
    main()
