"""The tables' layout: what users' compiled code reads stays where it is, and what several workers write lies apart."""

import numpy as np
from kernel_calls import run, uncached

from fastbp import Model
from fastbp.core.ir.kernel import INTEGERS, VOID, kernel
from fastbp.core.slots import HEADER, LAYER_SLOTS, NET, VERSION, Job, Layer, Net, layer_of

CACHE_LINE = 8  # int64
FOR_USERS = (
    *("version", "length", "size", "inputs", "outputs", "parameters", "targets"),
    *("needed", "predict", "gradient", "process"),
)


def test_the_slots_that_users_compiled_code_reads_have_not_moved_without_a_new_version() -> None:
    assert VERSION == 0x66617374627002
    assert [getattr(Net, name) for name in FOR_USERS] == list(range(len(FOR_USERS)))


def test_counters_of_different_writers_share_no_cache_line() -> None:
    lines = [slot // CACHE_LINE for slot in (Job.stop, Job.arrived, Job.done, Job.outcomes)]
    assert len(set(lines)) == len(lines)


def test_compiled_code_finds_each_layer_of_a_network() -> None:
    @kernel(VOID(NET, INTEGERS))
    def sizes_of(net, out):
        for i in range(net.layers):
            layer = layer_of(net, i)
            out[2 * i], out[2 * i + 1] = layer.n_in, layer.n_out

    net, out = Model((3, 50, 7, 2)).compiled(), np.zeros((3, 2), np.int64)
    run(uncached(sizes_of), net, out)
    assert out.tolist() == [[3, 50], [50, 7], [7, 2]]
    assert net[HEADER:].reshape(-1, LAYER_SLOTS)[:, Layer.n_out].tolist() == [50, 7, 2]
