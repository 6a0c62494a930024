"""How fit chooses between its team and one worker alone, from what their slices took."""

import math
from itertools import pairwise

from fastbp.network import Network
from fastbp.training.autotune import (
    ALONE_WAIT,
    FIRST_SLICE,
    FIRST_WAIT,
    LONGEST_WAIT,
    SLICE_SECONDS,
    TRIAL_SECONDS,
    WARM_UP_SECONDS,
    Autotune,
    autotune_of,
)


def slices(autotune, count, seconds):
    """The workers of the next slices, of which one with w workers takes seconds[w] a step."""
    chosen = []
    for _ in range(count):
        workers = autotune.workers()
        chosen.append(workers)
        autotune.note(workers, seconds[workers], autotune.slice_seconds)
    return chosen


def trials(autotune, seconds, workers, total):
    """The seconds of training before each run of slices with that number of workers, in a run of `total` seconds."""
    begins, passed, before = [], 0.0, None
    while passed < total:
        now = autotune.workers()
        if now == workers != before:
            begins.append(passed)
        before = now
        passed += autotune.slice_seconds
        slices(autotune, 1, seconds)
    return begins


def test_the_team_is_kept_where_it_is_faster():
    assert slices(Autotune(2, adaptive=True), 5, {2: 0.6, 1: 1.0}) == [2, 2, 1, 1, 2]


def test_a_single_worker_is_kept_where_the_cores_are_busy():
    assert slices(Autotune(2, adaptive=True), 5, {2: 1.4, 1: 1.0}) == [2, 2, 1, 1, 1]


def test_a_team_that_lost_is_tried_again_soon_and_then_less_and_less_often():
    begins = trials(Autotune(2, adaptive=True), {2: 1.6, 1: 1.0}, workers=2, total=30)
    trial = WARM_UP_SECONDS + TRIAL_SECONDS
    waits = [round((after - before - trial) / SLICE_SECONDS) for before, after in pairwise(begins)]  # slices
    assert waits == sorted(waits)
    assert waits[0] == math.ceil(FIRST_WAIT / SLICE_SECONDS)
    assert round(LONGEST_WAIT / SLICE_SECONDS) <= waits[-1] <= round(LONGEST_WAIT / SLICE_SECONDS) + 1


def test_a_single_worker_that_lost_is_tried_again_now_and_then():
    begins = trials(Autotune(2, adaptive=True), {2: 0.6, 1: 1.0}, workers=1, total=30)
    for before, after in pairwise(begins):
        assert ALONE_WAIT <= after - before <= ALONE_WAIT + 2 * SLICE_SECONDS


def test_the_team_wins_soon_once_the_cores_are_free():
    autotune = Autotune(2, adaptive=True)
    slices(autotune, 4, {2: 1.4, 1: 1.0})
    chosen = slices(autotune, 8, {2: 0.6, 1: 1.0})
    assert chosen.index(2) <= 2
    assert chosen.count(2) >= 4


def test_a_single_worker_takes_over_at_once_when_the_team_becomes_slow_and_the_team_is_tried_soon():
    autotune = Autotune(2, adaptive=True)
    trials(autotune, {2: 0.6, 1: 1.0}, workers=1, total=20)
    spent = {1: 0.0, 2: 0.0}
    for _ in range(8):
        spent[autotune.workers()] += autotune.slice_seconds
        slices(autotune, 1, {2: 5.0, 1: 1.0})
    assert spent[1] > 2 * spent[2]
    assert 2 in slices(autotune, 6, {2: 0.6, 1: 1.0})


def test_a_trial_is_short():
    autotune = Autotune(2, adaptive=True)
    lengths = []
    for _ in range(5):
        lengths.append(autotune.slice_seconds)
        slices(autotune, 1, {2: 0.6, 1: 1.0})
    assert lengths == [FIRST_SLICE * SLICE_SECONDS, TRIAL_SECONDS, WARM_UP_SECONDS, TRIAL_SECONDS, SLICE_SECONDS]


def test_slices_that_are_cut_short_decide_together():
    autotune = Autotune(2, adaptive=True)
    slices(autotune, 3, {2: 0.6, 1: 1.0})
    for seconds_a_step in (0.1, 2.0, 2.0, 2.0, 2.0):
        assert autotune.workers() == 1
        autotune.note(1, seconds_a_step, TRIAL_SECONDS / 10)
    assert autotune.workers() == 1, "what they took for all of their steps is less than the team's 0.6"
    assert math.isclose(autotune.step_seconds, 5 / (1 / 0.1 + 4 / 2.0))


def test_a_team_that_is_slow_in_short_runs_is_given_up():
    autotune, chosen = Autotune(2, adaptive=True), []
    for _ in range(100):
        chosen.append(autotune.workers())
        autotune.note(chosen[-1], {2: 1.4, 1: 1.0}[chosen[-1]], TRIAL_SECONDS / 10)
    assert chosen[0] == 2
    assert chosen.count(2) < 20


def test_the_first_slice_is_not_counted_it_finds_cold_caches():
    autotune = Autotune(2, adaptive=True)
    slices(autotune, 1, {2: 100.0})
    assert slices(autotune, 4, {2: 0.6, 1: 1.0}) == [2, 1, 1, 2]


def test_the_first_slice_of_a_trial_is_not_counted_either():
    autotune = Autotune(2, adaptive=True)
    slices(autotune, 4, {2: 1.4, 1: 1.0})
    while autotune.workers() == 1:
        slices(autotune, 1, {1: 1.0})
    slices(autotune, 1, {2: 100.0})
    assert slices(autotune, 2, {2: 0.6, 1: 1.0}) == [2, 2]


def test_a_step_takes_as_long_as_the_last_one_or_is_unknown():
    autotune = Autotune(2, adaptive=True)
    assert autotune.step_seconds == math.inf
    slices(autotune, 2, {2: 0.25, 1: 0.5})
    assert autotune.workers() == 1
    assert autotune.step_seconds == math.inf
    slices(autotune, 1, {2: 0.25, 1: 0.5})
    assert autotune.step_seconds == 0.5
    slices(autotune, 1, {2: 0.25, 1: 0.5})
    assert autotune.workers() == 2
    assert autotune.step_seconds == 0.25


def test_an_explicit_number_of_workers_is_kept_and_needs_no_trials():
    autotune = Autotune(2, adaptive=False)
    assert set(slices(autotune, 100, {2: 9.0})) == {2}
    assert autotune.slice_seconds == SLICE_SECONDS


def test_what_a_run_has_learned_the_next_one_like_it_knows():
    network = Network((3, 5, 2), "relu", "identity", True)
    autotune = autotune_of(network, 4, 7, 2, True)
    assert autotune.steps(1e9) == 1
    slices(autotune, 4, {2: 1e-3, 1: 0.5e-3})
    again = autotune_of(network, 4, 7, 2, True)
    assert again.workers() == 1
    assert again.steps(1e9) == SLICE_SECONDS / 0.5e-3
    for others in ((network, 8, 7, 2, True), (network, 4, 8, 2, True), (network, 4, 7, 2, False)):
        assert autotune_of(*others).steps(1e9) == 1
