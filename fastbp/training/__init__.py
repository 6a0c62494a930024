"""The Python side of fit and step: what is prepared, how a run goes on, checkpoints, progress."""
