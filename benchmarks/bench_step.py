"""The Adam training step: forward, backward and update of a mini-batch; float32, softmax, cross-entropy."""

import numpy as np

import fastbp

SHAPES = {  # name: (sizes, batch size, steps per epoch)
    "A 13-32-32-2, batch 32": ((13, 32, 32, 2), 32, 1000),
    "D 64-64-10, batch 200": ((64, 64, 10), 200, 200),
    "E 784-128-10, batch 128": ((784, 128, 10), 128, 50),
}
EPOCHS = 7


class AdamStep:
    """A step takes microseconds, so each measurement is of an epoch of many. All is compiled in setup."""

    params = (list(SHAPES), [1, 2])
    param_names = ("network", "threads")
    timeout = 300

    def setup(self, name: str, threads: int) -> None:
        sizes, self.batch_size, self.steps = SHAPES[name]
        rng = np.random.default_rng(0)
        n = self.batch_size * self.steps
        self.X = rng.standard_normal((n, sizes[0]), dtype=np.float32)
        self.y = rng.integers(0, sizes[-1], n)
        self.model = fastbp.Model(sizes, hidden="relu", output="softmax", dtype="float32")
        self.fit(threads, 1)

    def fit(self, threads: int, epochs: int) -> fastbp.History:
        return self.model.fit(
            self.X, self.y, epochs=epochs, batch_size=self.batch_size, optimizer="adam", n_threads=threads
        )

    def time_epoch(self, name: str, threads: int) -> None:
        """A whole call of fit for one epoch: 1000, 200 or 50 steps, with checks, threads and shuffling."""
        self.fit(threads, 1)

    def track_step(self, name: str, threads: int) -> float:
        """One step inside fit, from the fastest of seven epochs."""
        return float(np.min(self.fit(threads, EPOCHS).seconds)) / self.steps * 1e6

    track_step.unit = "microseconds"  # type: ignore[attr-defined]
