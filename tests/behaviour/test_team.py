"""Teams of workers end as they should: after Ctrl-C, under load, in forks, beside other threads, with failing threads.

A consistent model is one whose parameters are those after exactly the steps and epochs that it counts.
"""

import copy
import faulthandler
import gc
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastbp import SGD, EarlyStopping, Model
from fastbp.engine import cpu, helpers, team
from fastbp.training import autotune
from fastbp.training import run as fit_run

BATCH, SEED = 4, 3
FEW, MANY = 21, 203  # rows: 6 and 51 steps in an epoch
TIMEOUT = 100  # seconds: a hang
PATIENCE = 1.5  # seconds in which Ctrl-C must be answered: 0.3 are promised; machines under test may be busy
X = np.random.default_rng(0).normal(size=(MANY, 5)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(MANY, 2)).astype(np.float32)
TEAMS = pytest.mark.parametrize("n_threads", [1, 3])


@pytest.fixture(autouse=True)
def hangs_are_shown():
    """A test that hangs ends the run, and says where every thread was."""
    faulthandler.dump_traceback_later(3 * TIMEOUT, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def python_handles_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="module")
def kernels_are_ready():
    """Ctrl-C in these tests comes while training, not while compiling."""
    fit(new_model(), validation_data=(X, Y))
    new_model().predict(X)


def new_model():
    return Model((5, 7, 2), hidden="tanh", seed=SEED)


def fit(model, epochs=1, n_threads=1, rows=FEW, **options):
    return model.fit(X[:rows], Y[:rows], epochs=epochs, batch_size=BATCH, n_threads=n_threads, **options)


def steps_an_epoch(rows):
    return -(-rows // BATCH)


class Steps:
    """Parameters after any number of uninterrupted steps of one worker: whole epochs, then single mini-batches."""

    def __init__(self, rows, shuffle):
        self.rows, self.shuffle, self.after_epochs = rows, shuffle, [new_model()]

    def parameters(self, steps):
        epochs, remainder = divmod(steps, steps_an_epoch(self.rows))
        while len(self.after_epochs) <= epochs:
            self.after_epochs.append(copy.deepcopy(self.after_epochs[-1]))
            fit(self.after_epochs[-1], rows=self.rows, shuffle=self.shuffle)
        model = copy.deepcopy(self.after_epochs[epochs])
        for batch in batches(self.rows, epochs if self.shuffle else None)[:remainder]:
            model.fit(X[batch], Y[batch], epochs=1, batch_size=BATCH, shuffle=False, n_threads=1)
        return model.parameters


def batches(rows, epoch):
    """The rows of each mini-batch; with epoch None in their own order."""
    order = np.arange(rows) if epoch is None else fit_run.shuffled(rows, SEED, epoch)
    return np.split(order, range(BATCH, rows, BATCH))


STEPS = {(rows, shuffle): Steps(rows, shuffle) for rows in (FEW, MANY) for shuffle in (False, True)}


def assert_consistent(model, rows=FEW, shuffle=True):
    assert model._state.epochs == model._state.updates // steps_an_epoch(rows)
    np.testing.assert_array_equal(model.parameters, STEPS[rows, shuffle].parameters(model._state.updates))
    assert np.isfinite(model.parameters).all()


def assert_nothing_is_left_behind():
    end = time.monotonic() + 10  # a helper may take a moment on a busy machine
    while helpers.busy and time.monotonic() < end:
        time.sleep(0.001)
    assert not helpers.busy
    assert len(set(helpers.idle)) == len(helpers.idle) <= os.cpu_count()
    assert all(helper.is_alive for helper in helpers.idle)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def assert_continues(model, n_threads):
    """The next epoch is the one that a copy of the model would run too."""
    other = copy.deepcopy(model)
    assert len(fit(model, n_threads=n_threads)) == 1
    fit(other)
    np.testing.assert_array_equal(model.parameters, other.parameters)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("rows", [FEW, MANY])
def test_the_steps_to_compare_with_are_those_of_fit(rows, shuffle):
    whole, single = new_model(), new_model()
    fit(whole, epochs=3, rows=rows, shuffle=shuffle)
    assert_consistent(whole, rows, shuffle)
    for batch in batches(rows, 0 if shuffle else None):
        single.fit(X[batch], Y[batch], epochs=1, shuffle=False)
    np.testing.assert_array_equal(single.parameters, STEPS[rows, shuffle].parameters(single._state.updates))


# Ctrl-C.


class CtrlC:
    """A trace function: Ctrl-C at the n-th time that a place in the main thread's Python code is reached."""

    FILES = ("fastbp", "concurrent/futures/thread.py", "contextlib.py")

    def __init__(self, place=None, time=1):
        self.place, self.time, self.seen = place, time, {}

    def __call__(self, frame, event, arg):
        code = frame.f_code
        if not any(name in code.co_filename for name in self.FILES):
            return None
        if event == "line":
            place = code.co_filename, code.co_name, frame.f_lineno
            self.seen[place] = self.seen.get(place, 0) + 1
            if place == self.place and self.seen[place] == self.time:
                signal.raise_signal(signal.SIGINT)
        return self


def traced(trace, model, **options):
    """Whether a fit under the trace function ended with a KeyboardInterrupt."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        fit(model, **options)
        return False
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)


@pytest.mark.long
@TEAMS
def test_ctrl_c_at_any_line_of_python_leaves_a_consistent_model(n_threads, monkeypatch):
    """Before the first slice, between submit and start, between slices, after the last: each line, twice.

    With one worker an epoch is enough, followed by all that can be.
    """
    watched = {
        "validation_data": (X[:9], Y[:9]),
        "metrics": ["r2"],
        "early_stopping": EarlyStopping(restore_best=False),
    }
    options = {"epochs": 1, "n_threads": 1, **watched} if n_threads == 1 else {"epochs": 2, "n_threads": n_threads}
    monkeypatch.setattr(autotune, "SLICE_SECONDS", 1e-9)  # one step a slice
    everywhere = CtrlC()
    assert not traced(everywhere, new_model(), **options)
    assert any("training" in place[0] for place in everywhere.seen)
    stopped_after = set()
    for place, times in everywhere.seen.items():
        for time_ in {1, min(times, 8)}:
            model, trace = new_model(), CtrlC(place, time_)
            interrupted = traced(trace, model, **options)
            where = f"{place} the {time_}th time"
            assert interrupted or trace.seen.get(place, 0) < time_, f"no KeyboardInterrupt from {where}"
            try:
                assert_consistent(model)
            except AssertionError as error:
                raise AssertionError(f"Ctrl-C at {where}: {error}") from error
            assert_nothing_is_left_behind()
            stopped_after.add(model._state.updates)
    assert len(stopped_after) >= 3, "in the middle of training too"
    assert_continues(model, n_threads)


def ctrl_c_after(seconds):
    """A timer that sends the signal, and the moment at which it did, in a list."""
    sent = []

    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    return threading.Timer(seconds, send), sent


def interrupted_fit(model, seconds, fit):
    """Ctrl-C after some seconds; how long it took to end the fit."""
    timer, sent = ctrl_c_after(seconds)
    try:
        timer.start()
        fit(model)
    except KeyboardInterrupt:
        took = time.perf_counter() - sent[0]
        timer.join()
        return took
    raise AssertionError("the fit ended without a KeyboardInterrupt")


@TEAMS
def test_ctrl_c_at_100_random_moments_leaves_a_consistent_model(n_threads, monkeypatch):
    """100 for each of two teams; a quarter of them before the first slice or soon after it began."""
    moments, usual = random.Random(n_threads), autotune.SLICE_SECONDS
    took, stopped_after = [], set()
    for i in range(100):
        model, shuffle = new_model(), i % 5 == 0  # shuffling takes a while, before the first step
        monkeypatch.setattr(autotune, "SLICE_SECONDS", usual if i % 3 == 0 else 1e-4)

        def train(model, shuffle=shuffle):
            fit(model, epochs=10**6, n_threads=n_threads, rows=MANY, shuffle=shuffle)

        took.append(interrupted_fit(model, moments.uniform(0, 0.002 if i % 4 == 0 else 0.04), train))
        assert_consistent(model, MANY, shuffle)
        assert_nothing_is_left_behind()
        if i % 10 == 0:
            assert_continues(model, n_threads)
        stopped_after.add(model._state.updates)
    assert len(stopped_after) > 10
    assert any(steps % steps_an_epoch(MANY) for steps in stopped_after), "in the middle of an epoch"
    assert max(took) < PATIENCE


@TEAMS
def test_ctrl_c_is_answered_soon_when_another_thread_receives_the_signal(n_threads, monkeypatch):
    """Then nothing ends the main thread's wait; nor when the signal comes just before it begins to wait."""
    monkeypatch.setattr(autotune, "FIRST_FLOPS_PER_SECOND", 1e14)  # a first slice of some seconds
    autotune.autotune_of.cache_clear()
    sent = []

    def send():
        sent.append(time.perf_counter())
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    timer = threading.Timer(0.3, send)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fit(new_model(), epochs=10**6, n_threads=n_threads, rows=MANY, shuffle=False)
    assert time.perf_counter() - sent[0] < PATIENCE
    timer.join()


@TEAMS
def test_ctrl_c_is_answered_soon_in_the_middle_of_a_large_step(n_threads):
    rng = np.random.default_rng(0)
    many, classes = rng.normal(size=(4000, 784)).astype(np.float32), rng.integers(10, size=4000)
    model = Model((784, 128, 10), output="softmax")
    start = model.parameters.copy()
    copy.deepcopy(model).fit(many[:9], classes[:9], epochs=1)  # the kernels are ready

    def train(model):
        model.fit(many, classes, epochs=10**6, batch_size=4000, n_threads=n_threads, shuffle=False)

    for moment in (0.0, 0.05, 0.2):
        assert interrupted_fit(model, moment, train) < PATIENCE
    count = model._state.updates
    again = Model((784, 128, 10), output="softmax", initial=start)
    if count:
        again.fit(many, classes, epochs=count, batch_size=4000, n_threads=1, shuffle=False)
    np.testing.assert_array_equal(model.parameters, again.parameters)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_ctrl_c_is_answered_soon_in_epochs_of_one_step(rows):
    """Hundreds of thousands of epochs a second, each shuffled separately."""
    model = new_model()
    for moment in (0.01, 0.2, 0.4):
        took = interrupted_fit(model, moment, lambda model: model.fit(X[:rows], Y[:rows], epochs=10**7))
        assert took < PATIENCE
        assert model._state.epochs == model._state.updates


def test_ctrl_c_is_answered_soon_while_validation_data_are_evaluated():
    model = Model((64, 1024, 1024, 10))
    many, targets = np.zeros((200_000, 64), np.float32), np.zeros((200_000, 10), np.float32)
    model.fit(many[:9], targets[:9], epochs=1, validation_data=(many[:9], targets[:9]))  # the kernels are ready

    def train(model):
        model.fit(many[:32], targets[:32], epochs=10**6, validation_data=(many, targets), n_threads=1)

    assert interrupted_fit(model, 0.5, train) < PATIENCE


class Late(Exception):
    pass


@TEAMS
def test_an_exception_from_the_users_own_signal_handler_leaves_a_consistent_model(n_threads):
    def handler(number, frame):
        raise Late

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # what is raised within a callback of the collector, such as hypothesis has, is lost
    try:
        for seconds in (0.005, 0.02, 0.05, 0.1, 0.2):
            model = new_model()
            signal.setitimer(signal.ITIMER_REAL, seconds)
            with pytest.raises(Late):
                fit(model, epochs=10**6, n_threads=n_threads, rows=MANY)
            assert_consistent(model, MANY)
            assert_nothing_is_left_behind()
            assert_continues(model, n_threads)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


@TEAMS
def test_a_sigint_handler_of_the_user_is_left_alone(n_threads):
    calls = []

    def handler(number, frame):
        calls.append(number)

    signal.signal(signal.SIGINT, handler)
    model = new_model()
    timer, _ = ctrl_c_after(0.01)
    timer.start()
    fit(model, epochs=500, n_threads=n_threads)
    timer.join()
    assert calls == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handler
    assert model._state.epochs == 500, "whether to stop is the handler's decision"


def test_ctrl_c_of_the_main_thread_does_not_concern_a_fit_in_another():
    model, done = new_model(), threading.Event()

    def train():
        fit(model, epochs=20, n_threads=3)
        done.set()

    thread = threading.Thread(target=train)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        thread.start()
        signal.raise_signal(signal.SIGINT)
    thread.join(TIMEOUT)
    assert done.is_set()
    assert model._state.epochs == 20
    assert_consistent(model)
    assert_nothing_is_left_behind()


# Several fits at once, and in other processes.


def test_four_python_threads_fit_at_once_with_the_bits_of_one_alone():
    def train(seed, n_threads):
        model = Model((5, 7, 2), hidden="tanh", seed=seed)
        cost = fit(model, epochs=40, n_threads=n_threads, validation_data=(X, Y)).cost
        return model.parameters, cost, model.predict(X)

    jobs = [(seed, n_threads) for seed in range(4) for n_threads in (1, 2, 3)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: train(*job), jobs, timeout=TIMEOUT))
    for found, (seed, _) in zip(together, jobs, strict=True):
        for value, expected in zip(found, train(seed, 1), strict=True):
            np.testing.assert_array_equal(value, expected, strict=True)


def test_four_python_threads_predict_with_one_model_at_once():
    model = new_model()
    expected = model.predict(X)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: model.predict(X), range(200), timeout=TIMEOUT):
            np.testing.assert_array_equal(found, expected)


def run(source, *arguments, timeout=TIMEOUT):
    """What a script prints, as a new process of this Python."""
    command = [sys.executable, "-W", "error", str(source), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"hangs: {error.stderr}") from None
    assert done.returncode == 0, done.stderr
    return done.stdout


MANY_FITS = """
    import faulthandler, subprocess, sys
    import numpy as np
    from fastbp.engine import thread_limit
    from fastbp import Model

    thread_limit.clamped = int  # more workers than this machine has cores
    faulthandler.dump_traceback_later(90, exit=True)
    X, y = np.ones((8, 5), np.float32), np.ones((8, 2), np.float32)
    alone = Model((5, 7, 2))
    alone.fit(X, y, epochs=1, batch_size=4, n_threads=1)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for _ in range(1000):
            model = Model((5, 7, 2))
            model.fit(X, y, epochs=1, batch_size=4, n_threads=8)
            assert model._state.updates == 2
            assert (model.parameters == alone.parameters).all()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    print("done")
"""


@pytest.mark.long
def test_1000_fits_with_8_workers_under_two_busy_processes_end(tmp_path):
    script = tmp_path / "many_fits.py"
    script.write_text(textwrap.dedent(MANY_FITS))
    assert run(script) == "done\n"


FORK = """
    import os, signal, warnings
    import numpy as np
    from fastbp import Model

    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside other threads, such as a BLAS's
    X, y = np.ones((12, 5), np.float32), np.ones((12, 2), np.float32)

    def train(n_threads=3):
        model = Model((5, 7, 2))
        model.fit(X, y, epochs=5, batch_size=4, n_threads=n_threads)
        return model.parameters

    before = train()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            signal.alarm(50)
            os._exit(0 if (train() == before).all() and (train(1) == before).all() else 1)
        during = train()
        assert os.waitpid(child, 0)[1] == 0
        assert (during == before).all()
    print("done")
"""


def test_fit_works_in_a_forked_child_after_a_fit_of_the_parent(tmp_path):
    script = tmp_path / "fork.py"
    script.write_text(textwrap.dedent(FORK))
    assert run(script) == "done\n"


MULTIPROCESSING = """
    import multiprocessing, sys, warnings
    import numpy as np
    from fastbp import Model

    X, y = np.ones((12, 5), np.float32), np.ones((12, 2), np.float32)

    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside other threads, such as a BLAS's

    def train(model):
        model.fit(X, y, epochs=5, batch_size=4, n_threads=3)
        return model

    if __name__ == "__main__":
        model = Model((5, 7, 2))
        model.fit(X, y, epochs=5, batch_size=4, n_threads=3)
        with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            models = pool.map(train, [model] * 3)
        train(model)
        for other in models:
            assert (other.parameters == model.parameters).all()
            assert other._state.updates == model._state.updates == 30
        print("done")
"""


@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
def test_models_travel_to_processes_and_back_and_are_trained_there(tmp_path, method):
    script = tmp_path / "pool.py"
    script.write_text(textwrap.dedent(MULTIPROCESSING))
    assert run(script, method) == "done\n"


THREADS = """
    import os, time
    import numpy as np
    from fastbp import Model
    from fastbp.engine import helpers

    most, before = min(3, os.cpu_count()), len(os.listdir("/proc/self/task"))
    for n_threads in (most, 1, most):
        Model((5, 2)).fit(np.ones((9, 5)), np.ones((9, 2)), epochs=3, n_threads=n_threads)
        while helpers.busy:
            time.sleep(1e-4)
        assert len(os.listdir("/proc/self/task")) - before == len(helpers.idle) <= most
    print("done")
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="only Linux lists the threads")
def test_only_helpers_live_after_a_fit_and_the_next_makes_no_more(tmp_path):
    """Not that of a progress bar that was not asked for. In the first slice, of unknown length, the caller waits."""
    script = tmp_path / "threads.py"
    script.write_text(textwrap.dedent(THREADS))
    assert run(script) == "done\n"


# Cores.


def test_a_second_worker_pays_for_itself_in_a_long_run_of_small_steps(monkeypatch):
    monkeypatch.setattr(team, "threads_here", lambda: 4)
    small, large = team.FLOPS_A_PAIR, 3 * team.FLOPS_A_WORKER
    many = math.ceil(team.FLOPS_A_RUN / small)
    assert [team.workers_for(small, steps=steps) for steps in (1, many // 2, many)] == [1, 1, 2]
    assert team.workers_for(small / 2, steps=100 * many) == 1
    assert [team.workers_for(large), team.workers_for(small, shards=3), team.workers_for(10 * large)] == [3, 3, 4]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says where a thread runs")
def test_each_worker_is_pinned_to_a_free_core_and_unpinned_afterwards():
    allowed = os.sched_getaffinity(0)
    where = cpu.FreeCores(allowed)
    taken, both_are_there = [], threading.Barrier(2)

    def take():
        back = cpu.affinity_restorer()
        where.pin_caller()
        taken.append(os.sched_getaffinity(0))
        both_are_there.wait(TIMEOUT)
        back()
        taken.append(os.sched_getaffinity(0))

    other = threading.Thread(target=take)
    other.start()
    take()
    other.join()
    if len(allowed) > 1:
        assert [len(cores) for cores in taken[:2]] == [1, 1]
        assert taken[0] != taken[1]
    assert taken[2:] == [allowed, allowed]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says where a thread runs")
def test_the_caller_may_run_on_all_cores_after_a_fit_a_prediction_and_an_error():
    allowed = os.sched_getaffinity(0)
    model = new_model()
    for _ in range(3):  # the second is short and runs here
        fit(model, epochs=2, n_threads=2)
        assert os.sched_getaffinity(0) == allowed
    model.predict(np.resize(X, (200_000, 5)))
    assert os.sched_getaffinity(0) == allowed
    with pytest.raises(FloatingPointError):
        model.fit(X, Y, optimizer=SGD(1e30), n_threads=2)
    assert os.sched_getaffinity(0) == allowed


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says where a thread runs")
def test_a_helper_keeps_no_core_of_the_call_before():
    allowed, found = os.sched_getaffinity(0), []

    def work_alone():
        cpu.pin_to({max(allowed)})
        cpu.FreeCores(allowed).pin_caller(alone=True)
        found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work_alone)
    thread.start()
    thread.join()
    assert found == [allowed]


def test_parts_are_shared_among_threads_and_come_back_in_order(monkeypatch):
    monkeypatch.setattr(team, "threads_here", lambda: 3)
    threads, all_are_there = set(), threading.Barrier(3)

    def part(begin, end):
        if begin < 3:
            all_are_there.wait(TIMEOUT)
        threads.add(threading.get_ident())
        return end

    assert team.each(part, [(i, i + 1) for i in range(9)]) == list(range(1, 10))
    assert len(threads) == 3


FORK_AFTER_HELP = """
    import os, warnings
    import numpy as np
    from fastbp.engine import team
    from fastbp import Model
    from fastbp.engine import helpers

    warnings.simplefilter("error")
    team.threads_here = lambda: 2
    before, model, X = len(os.listdir("/proc/self/task")), Model((5, 64, 64, 2)), np.ones((200_000, 5), np.float32)

    def started():
        return len(os.listdir("/proc/self/task")) - before

    expected = model.predict(X)
    assert started() >= 1
    if os.fork() == 0:
        assert not helpers.idle and not helpers.busy
        assert model.predict(X).tobytes() == expected.tobytes()
        assert len(os.listdir("/proc/self/task")) >= 2
        print("done", flush=True)
        os._exit(0)
    os.wait()
    assert started() <= 0  # NumPy ends its own too
    assert model.predict(X).tobytes() == expected.tobytes()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_helpers_exit_before_a_fork_and_start_again_after_it_in_parent_and_child(tmp_path):
    script = tmp_path / "help.py"
    script.write_text(textwrap.dedent(FORK_AFTER_HELP))
    assert run(script) == "done\n"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm")
def test_no_helper_is_at_work_after_an_exception_from_a_signal_handler(monkeypatch):
    def interrupt(*_):
        raise TimeoutError("the user's")

    monkeypatch.setattr(team, "threads_here", lambda: 2)
    caller, both_are_there, ended = threading.get_ident(), threading.Barrier(2), []

    def part(begin, end):
        both_are_there.wait(TIMEOUT)
        if threading.get_ident() != caller:
            time.sleep(0.3)
            ended.append(begin)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(TimeoutError, match="the user's"):
            team.each(part, [(0, 1), (1, 2)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(ended) == 1


def test_where_no_helper_can_start_the_caller_does_all(monkeypatch):
    monkeypatch.setattr(team, "threads_here", lambda: 3)
    helpers.end_helpers()
    start_only(0, monkeypatch)
    assert team.each(lambda begin, end: end, [(i, i + 1) for i in range(9)]) == list(range(1, 10))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says where a thread runs")
def test_a_helper_leaves_the_callers_core_and_those_that_the_caller_may_not_use():
    allowed = os.sched_getaffinity(0)

    def cores_after(core, may_use):
        found = []

        def helper():
            cpu.pin_to({core})
            cpu.pin_away_from(core, may_use)
            found.append(os.sched_getaffinity(0))

        thread = threading.Thread(target=helper)
        thread.start()
        thread.join()
        return found[0]

    for core in allowed:
        others = allowed - {core} or allowed
        assert cores_after(core, allowed) == others
        assert cores_after(core, others) == others


@pytest.mark.parametrize("here", [True, False])
def test_an_error_in_one_part_ends_all_and_is_raised(here, monkeypatch):
    monkeypatch.setattr(team, "threads_here", lambda: 2)
    caller, both_are_there, done = threading.get_ident(), threading.Barrier(2), []

    def part(begin, end):
        if begin < 2:
            both_are_there.wait(TIMEOUT)
            if (threading.get_ident() == caller) == here:
                raise MemoryError("no room")
        time.sleep(0.001)
        done.append(begin)

    with pytest.raises(MemoryError, match="no room"):
        team.each(part, [(i, i + 1) for i in range(100)])
    finished = len(done)
    time.sleep(0.01)
    assert finished == len(done) < 98


# Threads that cannot start.


def assert_trained_alone(model):
    """Three epochs, with the bits of any number of workers."""
    assert model._state.updates == 3 * steps_an_epoch(FEW)
    assert_consistent(model)
    assert_nothing_is_left_behind()
    assert_continues(model, 3)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_team_whose_thread_cannot_start_leaves_all_to_the_caller(failing, monkeypatch):
    """The others must leave at once."""
    model = new_model()
    autotune.autotune_of.cache_clear()
    helpers.end_helpers()
    with monkeypatch.context() as patch:
        start_only(failing, patch)
        fit(model, epochs=3, n_threads=3)
    assert_trained_alone(model)


def start_only(count, patch):
    """As the system refuses threads beyond its limit."""
    patch.setattr(helpers, "exiting", Asked(lambda times: times > count))


class Asked:
    """What `call` asks whether it is too late to start a thread."""

    def __init__(self, answer):
        self.times, self.answer = 0, answer

    def __bool__(self):
        self.times += 1
        return self.answer(self.times)


def test_ctrl_c_while_threads_cannot_start_stops_the_run(monkeypatch):
    def refuse(times):
        signal.raise_signal(signal.SIGINT)
        return True

    model = new_model()
    autotune.autotune_of.cache_clear()
    helpers.end_helpers()
    with monkeypatch.context() as patch:
        patch.setattr(helpers, "exiting", Asked(refuse))
        with pytest.raises(KeyboardInterrupt):
            fit(model, epochs=10_000, n_threads=3)
    assert model._state.updates < 10_000
    assert_consistent(model)
    assert_nothing_is_left_behind()
