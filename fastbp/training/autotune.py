"""Autotune: the length of the next slice of fit, and its number of workers."""

import functools
import math

from fastbp.network import Network

SLICE_SECONDS = 0.1
FIRST_SLICE = 0.2  # of SLICE_SECONDS
FIRST_FLOPS_PER_SECOND = 2e9  # low guesses of the speed, until the first slice is measured
FIRST_STEP = 5e-6  # seconds of the shortest step
FIRST_TEAM_STEP = 200e-6  # and of a team's, on busy cores
WARM_UP_SECONDS, TRIAL_SECONDS = 0.001, 0.005  # of the two slices of a trial
FIRST_WAIT, LONGEST_WAIT = 0.05, 0.8  # seconds until the team is tried again, doubled each time that it loses
ALONE_WAIT = 3.2  # seconds until a single worker is tried again


class Autotune:
    """Chooses between a team and a single worker: the one that was faster per step when last tried.

    On a busy machine a team waits for its slowest worker, and a single one is faster; results are bit-identical. The
    team is tried first, then the single worker. A team that loses is tried again, soon at first, as the machine may not
    stay busy; a single worker, whose speed changes little, seldom. A trial is one slice to warm the caches, and one
    that is measured, or several if runs or epochs end too soon.
    """

    def __init__(self, workers: int, adaptive: bool) -> None:
        self.choices = [workers, 1] if adaptive and workers > 1 else [workers]
        self._seconds: dict[int, float] = {}  # for a step
        self._trial = 2 if len(self.choices) > 1 else 0  # remaining slices of a trial
        self._tried = workers
        self._counted = [0.0, 0.0]  # steps and seconds of the trial's measured slices
        self._wait, self._waited = FIRST_WAIT, 0.0

    def workers(self) -> int:
        """Of the next slice."""
        return self._tried if self._trial else self._faster

    def steps(self, flops: float) -> int:
        """Steps of the next slice; flops: of one step."""
        known = min(self.step_seconds, max(self._seconds.values(), default=math.inf))
        overhead = FIRST_STEP if self.workers() == 1 else FIRST_TEAM_STEP
        guess = flops / FIRST_FLOPS_PER_SECOND + overhead
        return max(1, int(self.slice_seconds / (guess if known == math.inf else known)))

    @property
    def step_seconds(self) -> float:
        """The expected time of a step in the next slice; infinite as long as it is unknown."""
        return self._seconds.get(self.workers(), math.inf)

    def note(self, workers: int, seconds_a_step: float, seconds: float) -> None:
        """Take in a slice's time, per step and in all."""
        faster, other = self._faster, sum(self.choices) - workers
        counted = self._counted
        if self._trial == 1 and workers == self._tried:  # else a slice of another thread's run
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
        """The length of the next slice."""
        if not self._seconds:
            return FIRST_SLICE * SLICE_SECONDS
        return (SLICE_SECONDS, TRIAL_SECONDS, WARM_UP_SECONDS)[self._trial]

    @property
    def _faster(self) -> int:
        """The choice that was faster; the team as long as the single worker has not been tried."""
        return min(self.choices, key=lambda workers: self._seconds.get(workers, workers == 1 and math.inf))


@functools.lru_cache(maxsize=256)
def autotune_of(
    network: Network, size: int, batch: int, workers: int, adaptive: bool, single: bool = False
) -> Autotune:
    """The object that all runs of this kind in the process share, so that a run begins with what others measured.

    single: for runs of one step each, which include waking the team.
    """
    return Autotune(workers, adaptive)
