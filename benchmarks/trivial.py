"""The minimum of a process that uses numba: one cached function."""

import numba


@numba.njit(cache=True)
def add_one(x):
    return x + 1


if __name__ == "__main__":  # not where asv imports it: the cached code would name a module that processes cannot find
    add_one(1)
