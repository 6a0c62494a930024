"""The Python side of fit and step: preparation, runs, checkpoints, progress."""
