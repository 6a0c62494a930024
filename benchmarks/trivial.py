"""The least that a process which uses numba does: one cached function."""

import numba


@numba.njit(cache=True)
def add_one(x):
    return x + 1


add_one(1)
