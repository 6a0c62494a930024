"""The table of shapes, with how many times faster than the best other library fastbp should be."""

from dataclasses import replace

from fastbp.bench.cases import Case

SHAPES = [
    Case("T", (2, 3, 2), 64, goal=3),
    Case("A", (13, 32, 32, 2), 32, goal=2.5),
    Case("B", (8, 64, 64, 4), 64, goal=1.7),
    Case("C", (30, 100, 2), 200, goal=2.5),
    Case("D", (64, 64, 10), 200, goal=2),
    Case("E", (784, 128, 10), 128, goal=2),
    Case("F", (784, 512, 512, 10), 128, goal=1.2),
    Case("G", (20, 256, 256, 256, 2), 256, goal=1.4),
]
SPECIAL = [  # with another loss, dtype or optimizer
    Case("H", (4, 32, 16, 4), 10_000, loss="squared_error", steps=1, epochs=400, goal=4),
    Case("I", (24, 8, 2), 200, "gradient", "squared_error", "float64", "sgd", steps=20_000, goal=3),
    Case("J", (40, 100, 100, 10), 1, optimizer="sgd", steps=2000, epochs=10),
]


def odd_widths(dtype: str) -> list[Case]:
    """Layers whose rows do not end at cache lines."""
    return [Case("K", (64, 300, 300, 6), 192, dtype=dtype).with_steps()]


def table(loss: str, dtype: str, optimizer: str) -> list[Case]:
    """The rows of the training table, under these conditions."""
    shapes = [replace(case, loss=loss, dtype=dtype, optimizer=optimizer).with_steps() for case in SHAPES]
    specials = {
        "H": {"dtype": dtype, "optimizer": optimizer},
        "I": {},
        "J": {"dtype": dtype, "loss": loss},
    }
    return shapes + [replace(case, **specials[case.name]) for case in SPECIAL]
