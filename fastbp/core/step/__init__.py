"""A training step: each worker's part, in phases with a barrier after each."""
