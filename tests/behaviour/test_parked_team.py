"""Workers parked between steps: the bits of one thread, whenever the next step comes; no thread is left over."""

import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.core.ir import aside
from fastbp.engine import helpers, parked_team

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(48, 9)), RNG.integers(0, 3, 48)
PAUSES = (0, 0, 0, 50e-6, 150e-6, 200e-6, 250e-6, 2e-3)


def model_of():
    return fastbp.Model((9, 20, 20, 3), output="softmax", seed=1)


def learn(model, steps, n_threads, pauses=(0,), seed=0):
    draw = random.Random(seed)
    for step in range(steps):
        model.step(X[step % 24 :][:24], Y[step % 24 :][:24], n_threads=n_threads)
        end = time.perf_counter() + draw.choice(pauses)
        while time.perf_counter() < end:
            pass
    return model


@pytest.fixture(scope="module")
def alone():
    return learn(model_of(), 400, 1)


@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_pauses_of_any_length_change_no_bit(alone, n_threads, seed):
    model = learn(model_of(), 400, n_threads, PAUSES, seed)
    assert np.array_equal(model.parameters, alone.parameters)


def test_the_helper_stays_parked_between_steps_and_exits_afterwards(monkeypatch):
    sent, send = [], parked_team.ParkedTeam._send

    def counted(team, rank):
        sent.append(rank)
        send(team, rank)

    monkeypatch.setattr(parked_team.ParkedTeam, "_send", counted)
    learn(model_of(), 200, 2)
    assert 1 <= len(sent) < 100  # a busy machine may keep the caller away for longer than the helper waits
    assert all_exited()


def test_helpers_that_come_and_go_leave_no_memory_behind():
    model = model_of()
    for _ in range(20):
        learn(model, 1, 2)
        time.sleep(0.002)  # the helper goes
    assert len(model._single_steps.stepper.team._crew._begun) <= 2


def all_exited():
    end = time.monotonic() + 10
    while helpers.busy and time.monotonic() < end:
        time.sleep(0.001)
    return not helpers.busy


def test_models_of_several_threads_have_separate_teams(alone):
    models = [model_of() for _ in range(4)]
    threads = [threading.Thread(target=learn, args=(model, 400, 2, PAUSES, seed)) for seed, model in enumerate(models)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        assert np.array_equal(model.parameters, alone.parameters)


@pytest.mark.parametrize("kernel", ["_wake", "_run_as_worker_0"])
def test_after_an_exception_no_helper_touches_the_model(monkeypatch, kernel):
    model = learn(model_of(), 3, 2)

    def fails(job):
        raise KeyboardInterrupt

    monkeypatch.setattr(model._single_steps.stepper.team, kernel, fails)
    with pytest.raises(KeyboardInterrupt):
        model.step(X[3:27], Y[3:27], n_threads=2)
    assert all_exited()
    assert (model._state.updates, model._single_steps.stepper) == (3, None)
    other = learn(model_of(), 3, 1)
    assert np.array_equal(model.parameters, other.parameters)
    for either, n_threads in ((model, 2), (other, 1)):
        either.step(X[3:27], Y[3:27], n_threads=n_threads)
    assert np.array_equal(model.parameters, other.parameters)


@pytest.mark.parametrize("started", [0, 1])
def test_where_no_thread_can_start_the_caller_is_alone(monkeypatch, alone, started):
    asked, call = [], parked_team.call

    def some(task):
        asked.append(task)
        if len(asked) % (started + 1) == 0:
            raise aside.NoThread
        call(task)

    monkeypatch.setattr(parked_team, "call", some)
    model = learn(model_of(), 400, 3)
    assert np.array_equal(model.parameters, alone.parameters)
    assert all_exited()


END = """
    import sys, threading, time
    import numpy as np
    from fastbp import Model

    X, y = np.ones((64, 17), np.float32), np.ones((64, 6), np.float32)
    model = Model((17, 256, 256, 6))

    def train():
        for _ in range(300):
            model.step(X, y, n_threads=2)
            time.sleep(0.001 if sys.argv[1] == "pauses" else 0)
        print("done", flush=True)

    threading.Thread(target=train).start()
"""


@pytest.mark.parametrize("how", ["pauses", "none"])
def test_a_thread_continues_after_the_main_one_has_ended(tmp_path, how):
    assert run(tmp_path, END, how) == ("done\n", "")


FORK = """
    import os, signal, threading, warnings
    import numpy as np
    from fastbp import Model

    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside other threads, such as a BLAS's
    X, y = np.ones((12, 5), np.float32), np.ones((12, 2), np.float32)

    def train(model, n_threads=2):
        for _ in range(20):
            model.step(X, y, n_threads=n_threads)
        return model.parameters

    def go_on():
        while not over:
            other.step(X, y, n_threads=2)

    model, alone, other, over = Model((5, 7, 2)), Model((5, 7, 2)), Model((5, 7, 2)), False
    thread = threading.Thread(target=go_on)
    for part in range(6):
        if part == 3:
            thread.start()
        child = os.fork()
        if child == 0:
            signal.alarm(50)
            os._exit(0 if (train(model) == train(alone, 1)).all() else 1)
        assert (train(model) == train(alone, 1)).all()
        assert os.waitpid(child, 0)[1] == 0
    over = True
    thread.join()
    print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_gets_a_separate_team(tmp_path):
    assert run(tmp_path, FORK) == ("done\n", "")


def run(folder, text, *arguments):
    """What a script writes to stdout and stderr."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text))
    environment = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout, done.stderr
