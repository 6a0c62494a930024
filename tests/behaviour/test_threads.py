"""How many threads a call uses; signals, forks and ends of threads while it does."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import fastbp
from fastbp import SGD, Model
from fastbp.core.ir import aside
from fastbp.engine import cpu, helpers, thread_limit

TIMEOUT = 100
CORES = thread_limit.cores()


def run(source, *arguments, **environment):
    """What a script prints, as a new process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(source), *map(str, arguments)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def many_cores(monkeypatch):
    """Eight of them, and no limit."""
    monkeypatch.undo()  # the cut to the cores is in force
    monkeypatch.setattr(thread_limit, "cores", lambda: 8)
    for name in thread_limit.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", thread_limit.VARIABLES)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3),
        (" 2 ", 2),
        ("4,2", 4),
        ("100", 8),
        ("0", 8),
        ("", 8),
        ("-1", 8),
        ("many", 8),
        ("2.5", 8),
        pytest.param("9" * 5000, 8, id="digits"),
    ],
)
def test_the_variables_of_other_libraries_are_a_limit(name, text, expected, many_cores, monkeypatch):
    monkeypatch.setenv(name, text)
    assert thread_limit.threads_here() == expected


def test_the_least_of_the_surroundings_counts_and_the_nearest_statement_before_them(many_cores, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert thread_limit.threads_here() == 3
    fastbp.set_threads(6)
    try:
        assert thread_limit.threads_here() == 6
        with fastbp.thread_limit(2):
            assert thread_limit.threads_here() == 2
            assert thread_limit.limited(4, thread_limit.threads_here) == 4
            assert thread_limit.limited(None, thread_limit.threads_here) == 2
            assert thread_limit.threads_here() == 2
        fastbp.set_threads(10**7)
        assert thread_limit.threads_here() == 8, "not more than the cores"
        with fastbp.thread_limit(10**7):
            assert thread_limit.threads_here() == 8
    finally:
        fastbp.set_threads(None)
    assert thread_limit.threads_here() == 3


def test_a_limit_is_that_of_one_thread_and_comes_off_after_an_error(many_cores):
    found = []

    def look():
        found.append(thread_limit.threads_here())

    def look_and_fail():
        with fastbp.thread_limit(2):
            other = threading.Thread(target=look)
            other.start()
            other.join()
            raise KeyError

    with pytest.raises(KeyError):
        look_and_fail()
    assert found == [8]
    assert thread_limit.threads_here() == 8


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "200000 0\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_is_read_in_both_versions(files, expected, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert thread_limit.cgroup_quota(str(tmp_path)) == expected


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_a_number_of_threads_that_is_none_is_refused_by_name(wrong):
    model, X = Model((3, 2)), np.ones((4, 3))
    calls = [
        lambda: model.predict(X, n_threads=wrong),
        lambda: model.evaluate(X, X[:, :2], n_threads=wrong),
        lambda: model.value_and_gradient(X, X[:, :2], n_threads=wrong),
        lambda: model.fit(X, X[:, :2], n_threads=wrong),
        lambda: model.step(X, X[:, :2], n_threads=wrong),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match="n_threads must be a whole number >= 1"):
            call()
    for call in (fastbp.set_threads, lambda n: fastbp.thread_limit(n).__enter__()):
        with pytest.raises((TypeError, ValueError), match="n must be a whole number >= 1"):
            call(wrong)
    assert model._state.updates == 0


COUNT = """
    import os, sys
    import numpy as np, fastbp

    def started(call):
        before = len(os.listdir("/proc/self/task"))
        call()
        return len(os.listdir("/proc/self/task")) - before

    X, y = np.zeros((4000, 256), "f4"), np.zeros((4000, 64), "f4")
    model = fastbp.Model((256, 256, 256, 64))
    more = eval(sys.argv[1])
    calls = [
        lambda: model.value_and_gradient(X, y, **more), lambda: model.predict(np.tile(X, (10, 1)), **more),
        lambda: model.evaluate(X, y, **more), lambda: model.step(X, y, **more),
        lambda: model.fit(X, y, epochs=2, batch_size=2000, validation_data=(X, y), **more),
    ]
    exec(sys.argv[2])
    print([started(call) for call in calls])
"""


ENTER = "limit = fastbp.thread_limit(1); limit.__enter__()"


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_no_call_starts_a_thread_where_one_is_asked_for():
    one = str([0] * 5)
    assert run(COUNT, "{}", "") != one, "this is to be limited"
    for name in thread_limit.VARIABLES:
        assert sum(map(int, run(COUNT, "{}", "", **{name: "1"})[1:-1].split(","))) <= 1, "see below"
    for more, before in (("{'n_threads': 1}", ""), ("{}", "fastbp.set_threads(1)"), ("{}", ENTER)):
        started = [*map(int, run(COUNT, more, before)[1:-1].split(","))]
        assert sum(started) <= 1, "a call of unknown length leaves its only worker to a thread, and waits for Ctrl-C"


@pytest.mark.parametrize("n_threads", [CORES + 1, 500, 10**7, sys.maxsize])
def test_more_threads_than_cores_are_those_of_the_cores(n_threads, monkeypatch):
    monkeypatch.undo()
    X, y, started, begin = np.ones((100, 3)), np.ones((100, 2)), [], helpers.begin
    monkeypatch.setattr(helpers, "begin", lambda task: (started.append(task), begin(task))[1])
    helpers.end_helpers()
    model, alone = Model((3, 4, 2)), Model((3, 4, 2))
    model.fit(X, y, epochs=2, n_threads=n_threads)
    assert len(started) <= CORES
    alone.fit(X, y, epochs=2, n_threads=1)
    assert model.parameters.tobytes() == alone.parameters.tobytes()
    with pytest.raises(ValueError, match="n_threads must be a whole number"):
        model.fit(X, y, n_threads=sys.maxsize + 1)


# --- signals ----------------------------------------------------------------------------------------------------------


class Timeout(Exception):
    """The user's."""


def ring(*_):
    raise Timeout


UNRAISABLE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Python's Thread.start and its collector's callbacks say on stderr that an exception came in their midst."""


def fits_under_alarms(fits, seed, n_threads):
    """Each is one step; a model counts those that it has learned from, and no others."""
    draw, X = random.Random(seed), np.ones((64, 20))
    model, twin = Model((20, 32, 4)), Model((20, 32, 4))
    model.fit(X, X[:, :4], n_threads=n_threads, epochs=1, batch_size=64)
    twin.fit(X, X[:, :4], epochs=1, batch_size=64)
    raised = 0
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(fits):
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, 1e-3))
                model.fit(X, X[:, :4], epochs=1, batch_size=64, n_threads=n_threads)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Timeout:
                raised += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised > fits / 50
    assert model._state.updates == model._state.epochs
    twin.fit(X, X[:, :4], epochs=model._state.updates - 1, batch_size=64)
    assert twin.parameters.tobytes() == model.parameters.tobytes(), "a step is not counted, or counted twice"


@UNRAISABLE
@pytest.mark.parametrize("n_threads", [1, 3])
def test_fits_under_random_alarms_lose_no_handler_and_miscount_no_step(n_threads):
    fits_under_alarms(400, 1, n_threads)


@pytest.mark.long
@UNRAISABLE
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_20000_fits_under_random_alarms_lose_no_handler_and_miscount_no_step(n_threads):
    fits_under_alarms(20_000, n_threads, n_threads)


def raising_at(moment):
    """A profile function that raises at the given moment of those at which Python may run a signal handler."""
    seen = 0

    def profile(frame, event, argument):
        nonlocal seen
        if event in ("c_return", "call"):
            seen += 1
            if seen == moment:
                raise Timeout

    return profile


CALLS = {
    "fit": lambda model, X, n_threads: model.fit(X[:64], X[:64, :4], epochs=1, batch_size=64, n_threads=n_threads),
    "step": lambda model, X, n_threads: model.step(X[:64], X[:64, :4], n_threads=n_threads),
    "predict": lambda model, X, n_threads: model.predict(X, n_threads=n_threads),
}


@UNRAISABLE
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("name", CALLS)
def test_an_exception_behind_any_call_leaves_the_model_the_threads_and_the_handler_whole(name, n_threads):
    X = np.ones((60_000, 20), np.float32)
    model, twin, call = Model((20, 32, 4)), Model((20, 32, 4)), CALLS[name]
    for _ in range(3):
        call(model, X, n_threads)
    moments, raised, allowed, before = 0, 0, cpu.cores_of_caller(), sys.getprofile()
    while raised == moments:
        moments += 1
        try:
            sys.setprofile(raising_at(moments))
            call(model, X, n_threads)
        except Timeout:
            raised += 1
        finally:
            sys.setprofile(before)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, moments
        assert cpu.cores_of_caller() == allowed, moments
        assert model._state.updates == model._state.epochs, moments
        assert thread_limit.stated_limit() is None, moments
    assert moments > 50
    if model._state.epochs:
        twin.fit(X[:64], X[:64, :4], epochs=model._state.epochs, batch_size=64)
    assert twin.parameters.tobytes() == model.parameters.tobytes()


def test_an_error_of_a_handler_is_not_taken_for_that_of_a_thread_that_cannot_start(monkeypatch):
    class Interrupted:
        @staticmethod
        def start_new_thread(function, arguments):  # as a handler within the call, whose frame the traceback shows
            raise RuntimeError("the user's")

    helpers.end_helpers()
    monkeypatch.setattr(aside, "_thread", Interrupted)
    with pytest.raises(RuntimeError, match="the user's") as caught:
        helpers.call(lambda: None)
    assert not isinstance(caught.value, aside.NoThread)


@UNRAISABLE
def test_a_limit_of_one_call_ends_with_it_whatever_is_raised():
    X, model, raised = np.ones((64, 20)), Model((20, 32, 4)), 0
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for i in range(3000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 20e-6 + i % 100 * 1e-6)
                model.predict(X, n_threads=1)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Timeout:
                raised += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert thread_limit.stated_limit() is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised > 30


def test_a_model_is_not_trained_in_a_callback_of_its_own_fit():
    X, model, other = np.random.default_rng(0).normal(size=(64, 3)), Model((3, 4, 1)), Model((3, 4, 1))
    calls = [
        lambda: model.step(X, X[:, :1]), lambda: model.fit(X, X[:, :1], optimizer="sgd"),
        lambda: model.apply_gradient(np.ones_like(model.parameters)),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=r"the model is being trained: (step|fit|apply_gradient) cannot be called"):
            model.fit(X, X[:, :1], epochs=5, batch_size=64, callbacks=[lambda state, call=call: call() and None])
    assert (model._state.updates, model._state.epochs) == (3, 3)
    model.fit(
        X,
        X[:, :1],
        epochs=2,
        batch_size=64,
        callbacks=[lambda state: other.step(X, X[:, :1], optimizer=SGD()) and None],
    )
    assert (model._state.updates, other._state.updates) == (5, 2)
    model.step(X, X[:, :1])


# --- forks, and threads that end or cannot start ----------------------------------------------------------------------

FORK = """
    import os, signal, sys
    import numpy as np, fastbp

    X, pids = np.random.default_rng(0).normal(size=(3000, 20)), []

    def fork(*_):
        if len(pids) == 0 and (model._state.epochs or sys.argv[1] != "callback"):
            pids.append(os.fork())
            signal.alarm(40)
        return 0.0

    model = fastbp.Model((20, 64, 32, 4))
    alone = fastbp.Model((20, 64, 32, 4))
    more = {"callbacks": [fork]} if sys.argv[1] == "callback" else {"metrics": [fork], "validation_data": (X, X[:, :4])}
    model.fit(X, X[:, :4], epochs=8, batch_size=64, n_threads=2, **more)
    alone.fit(X, X[:, :4], epochs=8, batch_size=64, n_threads=1)
    same = model.parameters.tobytes() == alone.parameters.tobytes()
    if pids[0] == 0:
        os._exit(0 if same else 1)
    print(same, os.waitpid(pids[0], 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("where", ["callback", "metric"])
def test_parent_and_child_go_on_with_a_fit_in_which_one_was_forked(where):
    assert run(FORK, where) == "True 0"


FORK_IN_COMPILATION = """
    import os, signal, threading
    import numpy as np, fastbp

    begun = threading.Event()

    def compile_all():
        fastbp.Model((4, 5, 2)).predict(np.ones((3, 4)))
        begun.set()  # a fork amid an import leaves a lock of Python's locked
        for dtype in ("float32", "float64"):
            for name in ("tanh", "gelu", "softplus"):
                fastbp.Model((4, 5, 2), hidden=name, dtype=dtype).predict(np.ones((3, 4)))

    thread = threading.Thread(target=compile_all)
    thread.start()
    begun.wait()
    statuses = []
    for _ in range(5):
        if (child := os.fork()) == 0:
            signal.alarm(60)
            model = fastbp.Model((4, 5, 2), hidden="elu")
            model.fit(np.ones((8, 4)), np.ones((8, 2)), epochs=1)
            os._exit(0)
        statuses.append(os.waitpid(child, 0)[1])
    thread.join()
    print(statuses)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_forked_while_a_thread_compiles_compiles_too(tmp_path):
    assert run(FORK_IN_COMPILATION, NUMBA_CACHE_DIR=str(tmp_path)) == "[0, 0, 0, 0, 0]"


MAIN_ENDS = """
    import sys, threading
    import numpy as np, fastbp

    X = np.random.default_rng(0).normal(size=(2000, 100))

    def train():
        model = fastbp.Model((100, 100, 10))
        model.fit(X, X[:, :10], epochs=10, batch_size=500, n_threads=eval(sys.argv[1]), validation_data=(X, X[:, :10]))
        model.value_and_gradient(X, X[:, :10])
        model.step(X, X[:, :10])
        print(model._state.epochs)

    threading.Thread(target=train).start()
"""


@pytest.mark.parametrize("n_threads", [None, 1, 2])
def test_a_fit_continues_after_the_main_thread_has_ended(n_threads):
    assert run(MAIN_ENDS, n_threads) == "11"


def test_all_calls_go_on_alone_where_no_thread_can_start():
    X = np.random.default_rng(0).normal(size=(4000, 100))
    y, models = X[:, :10], (Model((100, 200, 200, 10)), Model((100, 200, 200, 10)))

    def results(model):
        return [
            model.predict(np.tile(X, (10, 1))).tobytes(), model.fit(X, y, epochs=1, n_threads=2).cost.tobytes(),
            model.fit(X, y, epochs=1).cost.tobytes(), model.value_and_gradient(X, y)[1].tobytes(),
            model.step(X, y), model.evaluate(X, y), model.parameters.tobytes(),
        ]  # fmt: skip

    expected = results(models[0])
    while helpers.busy:  # one may be parked for a moment
        time.sleep(0.001)
    helpers.end_helpers()
    before = threading.stack_size(1 << 46)
    try:
        with pytest.raises(RuntimeError):
            threading.Thread(target=results).start()
        assert results(models[1]) == expected
    finally:
        threading.stack_size(before)


COMPILING = """
    import random, signal, sys
    import numpy as np, fastbp

    class Timeout(Exception):
        pass

    def ring(*_):
        raise Timeout

    draw, X, raised = random.Random(int(sys.argv[1])), np.random.default_rng(0).normal(size=(20, 4)), 0
    signal.signal(signal.SIGALRM, ring)
    while True:
        try:
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.01, 0.4) * (1 + raised / 4))
            model = fastbp.Model((4, 6, 3), output="softmax")
            model.fit(X, np.arange(20) % 3, epochs=2)
            signal.setitimer(signal.ITIMER_REAL, 0)
            break
        except Timeout:
            raised += 1
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print(raised > 0, model.parameters.tobytes().hex())
"""


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kernels_are_compiled_in_the_end_whatever_is_raised_while_they_are(seed, tmp_path):
    model, X = Model((4, 6, 3), output="softmax"), np.random.default_rng(0).normal(size=(20, 4))
    model.fit(X, np.arange(20) % 3, epochs=2)
    found = run(COMPILING, seed, NUMBA_CACHE_DIR=str(tmp_path))
    assert found == f"True {model.parameters.tobytes().hex()}"
    assert run(COMPILING, seed, NUMBA_CACHE_DIR=str(tmp_path)).endswith(found.split()[1]), "and what was kept is whole"
