"""Derivatives of what a network computes, by the kernels that compute it."""
