"""Functions in a separate module, which other processes can import: pickle refers to them by name."""

import math

from fastbp.engine.thread_limit import joblib_share, threads_here


def bump(z):
    return z / (1 + abs(z))


def bump_slope(z):
    return 1 / (1 + abs(z)) ** 2


def bump_curvature(z):
    return math.copysign(2, -z) / (1 + abs(z)) ** 3


def root(z):
    return math.sqrt(1 + z * z)


def root_slope(z):
    return z / math.sqrt(1 + z * z)


def share_here(_=None):
    """joblib's share and the threads that a call may use, where this runs."""
    return joblib_share(), threads_here()
