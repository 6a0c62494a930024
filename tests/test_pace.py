"""How fit chooses between its team and one worker alone, from what their slices took."""

from fastbp.network import Network
from fastbp.pace import RETRY_SLICES, SLICE_SECONDS, TRIAL_SECONDS, Pace, pace_of


def slices(pace, count, seconds):
    """The workers of the next slices, of which one with w workers takes seconds[w] a step."""
    chosen = []
    for _ in range(count):
        workers = pace.workers()
        chosen.append(workers)
        pace.note(workers, seconds[workers])
    return chosen


def test_the_team_goes_on_where_it_is_faster():
    assert slices(Pace(2, adaptive=True), 8, {2: 0.6, 1: 1.0}) == [2, 2, 1, 2, 2, 2, 2, 2]


def test_one_alone_goes_on_where_the_cores_are_busy():
    assert slices(Pace(2, adaptive=True), 8, {2: 1.4, 1: 1.0}) == [2, 2, 1, 1, 1, 1, 1, 1]


def test_what_lost_is_tried_again_later_and_wins_once_the_cores_are_free():
    pace = Pace(2, adaptive=True)
    slices(pace, RETRY_SLICES, {2: 1.4, 1: 1.0})
    assert slices(pace, 3, {2: 0.6, 1: 1.0}) == [2, 2, 2]


def test_a_trial_that_was_disturbed_is_repeated_soon():
    pace = Pace(2, adaptive=True)
    slices(pace, 3, {2: 1.4, 1: 1.0})
    assert slices(pace, 8, {2: 0.6, 1: 1.0}) == [1, 1, 1, 1, 1, 2, 2, 2]


def test_a_trial_is_short():
    pace = Pace(2, adaptive=True)
    slices(pace, 2, {2: 0.6, 1: 1.0})
    assert pace.slice_seconds == TRIAL_SECONDS
    slices(pace, 1, {2: 0.6, 1: 1.0})
    assert pace.slice_seconds == SLICE_SECONDS


def test_the_first_slice_is_not_counted_it_finds_cold_caches():
    pace = Pace(2, adaptive=True)
    slices(pace, 1, {2: 100.0})
    assert slices(pace, 4, {2: 0.6, 1: 1.0}) == [2, 1, 2, 2]


def test_an_explicit_number_of_workers_is_kept_and_needs_no_trials():
    pace = Pace(2, adaptive=False)
    assert pace.slice_seconds == SLICE_SECONDS
    assert set(slices(pace, 2 * RETRY_SLICES, {2: 9.0})) == {2}


def test_what_a_run_has_learned_the_next_one_like_it_knows():
    network = Network((3, 5, 2), "relu", "identity", True)
    pace = pace_of(network, 4, 7, 2, True)
    assert pace.first_steps(1e9) == 1
    slices(pace, 3, {2: 1e-3, 1: 0.5e-3})
    again = pace_of(network, 4, 7, 2, True)
    assert again.workers() == 1
    assert again.first_steps(1e9) == SLICE_SECONDS / 0.5e-3
    for others in ((network, 8, 7, 2, True), (network, 4, 8, 2, True), (network, 4, 7, 2, False)):
        assert pace_of(*others).first_steps(1e9) == 1
