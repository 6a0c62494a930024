"""What fit adds to a process: the arrays that training needs, 30 MB at most besides, and nothing more with each epoch.

The peak is Linux's VmHWM, not ru_maxrss, which begins at the peak of the process that started this one.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import Model
from fastbp.engine.job import Examples, Job
from fastbp.engine.network_table import aligned_zeros
from fastbp.engine.team import workers_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MB = 1 << 20
BESIDES = 30 * MB  # the package, its kernels, and all that is small
NOISE = 1 * MB  # pages of the allocator
TIMEOUT = 100

ONE_CACHED_FUNCTION = """
    import numba

    @numba.njit(cache=True)
    def add_one(x):
        return x + 1

    add_one(1)
"""
PROGRAM = """
    import json, sys
    import numpy as np

    def memory(name):
        with open("/proc/self/status") as file:
            (line,) = (line for line in file if line.startswith(name))
        return int(line.split()[1]) * 1024

    sizes, rows, options, fits = json.loads(sys.argv[1])
    rng = np.random.default_rng(0)
    X = rng.random((rows, sizes[0]), dtype=np.float32)
    y = rng.integers(sizes[-1], size=rows, dtype=np.uint8).astype(np.float32)
    if options.pop("weighted", False):
        options["sample_weight"], options["validation_data"] = np.ones(rows, np.float32), (X, y)
    import one_cached_function
    before, peaks = memory("VmRSS"), [memory("VmHWM")]

    from fastbp import Model
    model = Model(sizes, output="softmax")
    for epochs in fits:
        model.fit(X, y, epochs=epochs, **options)
        peaks.append(memory("VmHWM"))
    print(json.dumps({"before": before, "peaks": peaks}))
"""
NETWORKS = {  # sizes, rows, options of fit
    "wide": ((784, 512, 512, 10), 2048, {"batch_size": 128}),
    "wide, on one thread": ((784, 512, 512, 10), 1024, {"batch_size": 128, "n_threads": 1}),
    "more parameters than anything else": ((784, 4000, 10), 512, {"batch_size": 128, "optimizer": "sgd"}),
    "more activations than anything else": ((64, 128, 128, 10), 4096, {"batch_size": 4096}),
    "more rows than anything else": ((2, 8, 2), 1_000_000, {"batch_size": 128}),
    "small, with weights and validation": ((13, 32, 10), 500, {"batch_size": 32, "weighted": True}),
}


@pytest.fixture(scope="module")
def peaks(tmp_path_factory):
    """Called with sizes, rows, options and epochs of each fit: the peak before fastbp's import, and after each fit."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "one_cached_function.py").write_text(textwrap.dedent(ONE_CACHED_FUNCTION))
    path = [str(folder), str(Path(fastbp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}

    def run(*code):
        done = subprocess.run(
            [sys.executable, "-c", *code],
            env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def measured(sizes, rows, options, fits):
        program, arguments = textwrap.dedent(PROGRAM), json.dumps((sizes, rows, options, fits))
        run(program, arguments)  # fills the cache on disk
        report = json.loads(run(program, arguments))
        assert abs(report["peaks"][0] - report["before"]) < NOISE, "nothing that was freed before makes room"
        return report["peaks"]

    run("import one_cached_function")
    return measured


def arrays_of_training(sizes, rows, options):
    """Bytes of theta, its gradient, the optimizer's state and the workspace: what `fit` makes for these arguments."""
    model, batch = Model(sizes, output="softmax"), options["batch_size"]
    examples = Examples(np.zeros((rows, sizes[0]), np.float32), np.zeros(rows, np.float32))
    workers = options.get("n_threads", workers_for(model._problem.flops(batch)))
    theta = gradient = model.parameters
    job = Job(model._problem.net(examples, batch), theta, gradient, examples, batch, workers)
    moments = {"adam": 2, "sgd": 0}[options.get("optimizer", "adam")]
    return (2 + moments) * theta.nbytes + job.workspace.nbytes


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_fit_adds_the_arrays_of_training_and_at_most_30_MB(peaks, network):
    before, after = peaks(*network, fits=[2])
    assert after - before < arrays_of_training(*network) + BESIDES


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_workspace_is_the_activations_of_one_batch_and_the_transposed_and_packed_weights(network):
    sizes, _, options = network
    (n_inputs, *widths), batch = sizes, options["batch_size"]
    activations = batch * (n_inputs + 2 * sum(widths)) * 4  # a and ∂C/∂z of every neuron
    theta = Model(sizes).parameters.nbytes
    training = arrays_of_training(*network) - (2 if "optimizer" in options else 4) * theta
    assert training < 1.3 * activations + 2.1 * theta + NOISE


@pytest.mark.parametrize("count", range(1, 40))
def test_a_vector_that_begins_in_an_array_of_ours_ends_in_memory_of_ours(count):
    array = aligned_zeros(count, np.float32)
    buffer = array.base
    while buffer.base is not None:
        buffer = buffer.base
    assert array.ctypes.data + array.nbytes + 64 <= buffer.ctypes.data + buffer.nbytes


@pytest.mark.parametrize("shuffle", [False, True])
def test_more_epochs_need_no_more_memory_than_the_order_of_their_rows(shuffle, peaks):
    rows, epochs = 256, 400
    _, one, many = peaks((784, 128, 10), rows, {"batch_size": 128, "shuffle": shuffle}, fits=[1, epochs])
    assert many - one < NOISE + shuffle * epochs * rows * 8


def test_many_epochs_at_once_of_a_small_network_stay_within_the_30_MB(peaks):
    network = ((2, 8, 2), 1000, {"batch_size": 32})
    before, after = peaks(*network, fits=[8000])
    assert after - before < arrays_of_training(*network) + BESIDES
