"""How fast fit goes: how long a slice is, and how many workers the next one has."""

import functools

from fastbp.network import Network

SLICE_SECONDS = 0.1
FIRST_FLOPS_PER_SECOND = 2e9  # low guesses of the speed, until the first slice is measured
FIRST_STEP = 5e-6  # seconds that a step takes at least
FIRST_TEAM_STEP = 200e-6  # and that of a team on busy cores
SECOND_SLICE_SECONDS = 0.02
TRIAL_SECONDS = 0.005  # of a slice that tries the number of workers that may be slower
FIRST_TRIAL = 2  # slices before it
FIRST_WAIT, LONGEST_WAIT = 0.1, 3.2  # seconds until the next trial: twice as long each time that it changes nothing


class Pace:
    """How many workers the next slice has: the team or one alone, whichever was faster per step when last tried.

    On a busy machine a team waits for its slowest worker, and one alone is faster; results are the same bits. The
    team begins; its first slice finds cold caches, its second counts, then one alone has a short try. Whichever
    loses is tried again, soon at first.
    """

    def __init__(self, workers: int, adaptive: bool) -> None:
        self.choices = [workers, 1] if adaptive and workers > 1 else [workers]
        self._seconds = dict.fromkeys(self.choices, 0.0)  # for a step
        self._slices = 0
        self._wait, self._waited = FIRST_WAIT, 0.0

    def first_steps(self, flops: float) -> int:
        """Steps of a run's first slice, each of so many operations."""
        if known := self._seconds[self.workers()]:
            return max(1, int(self.slice_seconds / known))
        meetings = FIRST_STEP if self.choices == [1] else FIRST_TEAM_STEP
        return max(1, int(0.2 * SLICE_SECONDS / (flops / FIRST_FLOPS_PER_SECOND + meetings)))

    def workers(self) -> int:
        team, alone = self.choices[0], self.choices[-1]
        if self._slices <= FIRST_TRIAL:
            return alone if self._slices == FIRST_TRIAL else team
        return self._slower if self._trial else self._faster

    def note(self, workers: int, seconds_a_step: float, seconds: float) -> None:
        """What the slice took, per step and in all; how long the next one should be is then `slice_seconds`."""
        trial, faster = self._trial, self._faster
        self._seconds[workers] = seconds_a_step
        self._slices += 1
        self._waited += seconds
        if self._faster != faster:
            self._wait, self._waited = FIRST_WAIT, 0.0
        elif trial:
            self._wait, self._waited = min(2 * self._wait, LONGEST_WAIT), 0.0

    @property
    def slice_seconds(self) -> float:
        if len(self.choices) == 1:
            return SLICE_SECONDS
        if self._slices < FIRST_TRIAL:
            return SECOND_SLICE_SECONDS
        return TRIAL_SECONDS if self._trial else SLICE_SECONDS

    @property
    def _faster(self) -> int:
        return min(self.choices, key=lambda workers: self._seconds[workers])

    @property
    def _slower(self) -> int:
        return max(reversed(self.choices), key=lambda workers: self._seconds[workers])

    @property
    def _trial(self) -> bool:
        """Whether the next slice tries the number of workers that may be slower."""
        return self._slices == FIRST_TRIAL or (self._slices > FIRST_TRIAL and self._waited >= self._wait)


@functools.lru_cache(maxsize=256)
def pace_of(network: Network, size: int, batch: int, workers: int, adaptive: bool) -> Pace:
    """The pace of all runs like this in the process: what one of them has learned, the next need not try."""
    return Pace(workers, adaptive)
