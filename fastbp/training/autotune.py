"""How fast fit goes: how long a slice is, and how many workers the next one has."""

import functools
import math

from fastbp.network import Network

SLICE_SECONDS = 0.1
FIRST_SLICE = 0.2  # of them
FIRST_FLOPS_PER_SECOND = 2e9  # low guesses of the speed, until the first slice is measured
FIRST_STEP = 5e-6  # seconds that a step takes at least
FIRST_TEAM_STEP = 200e-6  # and that of a team on busy cores
WARM_UP_SECONDS, TRIAL_SECONDS = 0.001, 0.005  # of the two slices of a trial
FIRST_WAIT, LONGEST_WAIT = 0.05, 0.8  # seconds until the team is tried again: twice as long each time that it loses
ALONE_WAIT = 3.2  # until one alone is


class Pace:
    """How many workers the next slice has: the team or one alone, whichever was faster per step when last tried.

    On a busy machine a team waits for its slowest worker, and one alone is faster; results are the same bits. First the
    team is tried, then one alone. A team that loses is tried again, soon at first, as the machine may not stay busy; of
    one alone little changes, but now and then it is tried, too. A trial has a slice for the caches, and one that
    counts, or several if runs or epochs end before it tells anything.
    """

    def __init__(self, workers: int, adaptive: bool) -> None:
        self.choices = [workers, 1] if adaptive and workers > 1 else [workers]
        self._seconds: dict[int, float] = {}  # for a step
        self._trial = 2 if len(self.choices) > 1 else 0  # slices of a trial that are still to come
        self._tried = workers
        self._counted = [0.0, 0.0]  # steps and seconds of the trial's slices that count
        self._wait, self._waited = FIRST_WAIT, 0.0

    def workers(self) -> int:
        return self._tried if self._trial else self._faster

    def steps(self, flops: float) -> int:
        """Of the next slice, if each has so many operations."""
        known = min(self.step_seconds, max(self._seconds.values(), default=math.inf))
        meetings = FIRST_STEP if self.workers() == 1 else FIRST_TEAM_STEP
        guess = flops / FIRST_FLOPS_PER_SECOND + meetings
        return max(1, int(self.slice_seconds / (guess if known == math.inf else known)))

    @property
    def step_seconds(self) -> float:
        """What a step of the next slice takes; infinite as long as that is not known."""
        return self._seconds.get(self.workers(), math.inf)

    def note(self, workers: int, seconds_a_step: float, seconds: float) -> None:
        """What the slice took, per step and in all."""
        faster, other = self._faster, sum(self.choices) - workers
        counted = self._counted
        if self._trial == 1 and workers == self._tried:  # else the slice of another thread's run
            counted[0] += seconds / seconds_a_step
            counted[1] += seconds
            seconds_a_step = counted[1] / counted[0]
        if self._trial != 2 or workers not in self._seconds:
            self._seconds[workers] = seconds_a_step
        if not self._trial:
            self._waited += seconds
        elif self._trial == 2:
            self._trial, self._counted = 1, [0.0, 0.0]
        elif counted[1] >= TRIAL_SECONDS / 2:
            self._trial, self._wait, self._waited = 0, min(2 * self._wait, LONGEST_WAIT), 0.0
        if self._faster != faster:
            self._wait, self._waited = FIRST_WAIT, 0.0
        if self._trial or len(self.choices) == 1:
            return
        if other not in self._seconds:
            self._trial, self._tried, self._wait = 2, other, FIRST_WAIT / 2
        elif self._waited >= (self._wait if self._faster == 1 else ALONE_WAIT):
            self._trial, self._tried = 2, sum(self.choices) - self._faster

    @property
    def slice_seconds(self) -> float:
        """How long the next slice should be."""
        if not self._seconds:
            return FIRST_SLICE * SLICE_SECONDS
        return (SLICE_SECONDS, TRIAL_SECONDS, WARM_UP_SECONDS)[self._trial]

    @property
    def _faster(self) -> int:
        """The team, as long as nothing is known of one alone."""
        return min(self.choices, key=lambda workers: self._seconds.get(workers, workers == 1 and math.inf))


@functools.lru_cache(maxsize=256)
def pace_of(network: Network, size: int, batch: int, workers: int, adaptive: bool, single: bool = False) -> Pace:
    """The pace of all runs like this in the process: what one of them has learned, the next need not try.

    single: of runs of one step each, for which a team has to be called together.
    """
    return Pace(workers, adaptive)
