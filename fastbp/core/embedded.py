"""Entry points without a team: prediction and cost for any number of rows, and the gradient inside other code.

`table_of` and `check_table` become part of the user's own compiled code; everything else is called by address.
"""

import functools

from numba.extending import register_jitable

from fastbp.core.ir.kernel import (
    DOUBLE,
    INT,
    POINTERS,
    VOID,
    call,
    call_int,
    inline,
    kernel,
    lanes_of,
    wide_vectors,
)
from fastbp.core.ir.memory import (
    address_of,
    copy,
    data_of,
    doubles_at,
    floats_at,
    not_finite,
    prefetch,
    shift,
    total,
)
from fastbp.core.ir.process_stamp import stamp_where_loaded
from fastbp.core.ir.traced import minimum
from fastbp.core.ir.views import viewing
from fastbp.core.layers import calls
from fastbp.core.layers.smoothing import smooth
from fastbp.core.slots import JOB_SLOTS, NET, VERSION, Job, Net, layer_of
from fastbp.core.workspace import (
    ONE,
    divide,
    embedded_size,
    few_of,
    halves_of,
    job_size,
    padded,
    shards_of,
    smoothed_size,
)

PROCESS = Net.process
net_at, job_at = viewing(Net), viewing(Job)


@functools.cache
def packed_weights(size):
    """Overwrites out (net.packed): the packed weights of the layers that have them."""
    P = POINTERS[size]

    @kernel(VOID(NET, P, P), size)
    def packed_weights(net, out, theta):
        for l in range(net.layers):
            layer = layer_of(net, l)
            if layer.packed >= 0:
                packed, w, n_in = shift(out, layer.packed), shift(theta, layer.w), layer.n_in
                calls.pack(net, packed, w, (n_in, layer.n_out), (0, n_in))

    return packed_weights


@inline
def scaled_inputs(net, work, x, rows):
    """x, x_row of the inputs that the first layer reads: x, or behind the activations in `work`, standardized."""
    if net.scaling == 0:
        return x, net.inputs
    scaled, x_row = shift(work, padded(net.block) * net.row), net.input_stride
    calls.standardize(net, (scaled, x_row), (x, net.inputs), rows, (0, net.inputs))
    return scaled, x_row


@inline
def scaled_targets(net, work, y, rows):
    """The targets that the loss reads: y, or behind the inputs in `work`, standardized."""
    if net.standardize_targets == 0:
        return y
    scaled = shift(work, padded(net.block) * (net.row + net.input_stride))
    calls.standardize_targets(net, scaled, (y, 0), rows)
    return scaled


def predicting(size):
    """(net, theta, packed, out, x, rows, workspace): overwrites out (rows, outputs) by the last layer's a.

    For the inputs x, a block of examples at a time; packed: the address of packed weights, or 0. Returns 1 if an input
    is NaN or infinite, else 0: found here the check is almost free, as the block comes to the caches in any case.
    """
    lanes = lanes_of(size)

    @inline
    def predict_blocks(net, theta, packed, out, x, rows, workspace):
        for i in range(net.widest):
            workspace[i] = 0.0
        zeros, work = workspace, shift(workspace, net.widest)
        block, n_in, n_out = net.block, net.inputs, net.outputs
        layer = layer_of(net, net.layers - 1)
        a, stride = shift(work, block * layer.a), layer.stride
        bad = 0
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            inputs = shift(x, begin * n_in)
            bad |= not_finite(inputs, count * n_in, lanes)
            inputs, x_row = scaled_inputs(net, work, inputs, count)
            calls.forward(net, (theta, packed, zeros), (inputs, x_row, 0), (work, block, 0, count), 1)
            if net.restore != 0:
                calls.restore(net, (shift(out, begin * n_out), n_out), (a, stride), count)
            else:
                for n in range(count):
                    copy(shift(out, (begin + n) * n_out), shift(a, n * stride), n_out, lanes)
        return bad

    return predict_blocks


@functools.cache
def predict(size):
    """The outputs for users' compiled code, whose workspace has no room for packed weights: see `predicting`."""
    P, predict_blocks = POINTERS[size], predicting(size)

    @kernel(INT(NET, P, P, P, INT, P), size)
    def predict(net, theta, out, x, rows, workspace):
        wide_vectors()
        return predict_blocks(net, theta, 0, out, x, rows, workspace)

    return predict


@functools.cache
def predict_packed(size):
    """The outputs for `Model.predict`: see `predicting`."""
    P, predict_blocks = POINTERS[size], predicting(size)

    @kernel(INT(NET, P, INT, P, P, INT, P), size)
    def predict_packed(net, theta, packed, out, x, rows, workspace):
        wide_vectors()
        return predict_blocks(net, theta, packed, out, x, rows, workspace)

    return predict_packed


@functools.cache
def evaluate(size):
    """Returns Σ_n w_n C_n over the examples (weights: an address, or 0); one of weight 0 is absent.

    packed: the address of packed weights, or 0.
    """
    P, lanes = POINTERS[size], lanes_of(size)

    @kernel(DOUBLE(NET, P, INT, P, P, INT, INT, P), size)
    def evaluate(net, theta, packed, x, y, weights, rows, workspace):
        wide_vectors()
        for i in range(net.widest):
            workspace[i] = 0.0
        zeros, one = workspace, shift(workspace, net.widest)
        one[0] = 1.0
        block, fused, layer = net.block, net.fused, layer_of(net, net.layers - 1)
        losses = shift(one, ONE)
        spare = shift(losses, padded(block))
        work = shift(spare, padded(block))
        a = shift(work, block * (layer.z if fused else layer.a))
        d = shift(work, block * (layer.dz if fused else layer.da))
        result = 0.0
        for begin in range(0, rows, block):
            count = minimum(block, rows - begin)
            w = shift(floats_at(weights, size), begin) if weights != 0 else one
            inputs, x_row = scaled_inputs(net, work, shift(x, begin * net.inputs), count)
            targets = scaled_targets(net, work, shift(y, begin * net.target_row), count)
            calls.forward(net, (theta, packed, zeros), (inputs, x_row, 0), (work, block, 0, count), 1 - fused)
            shape = count, layer.n_out, layer.stride
            calls.loss(net, d, (losses, spare), a, (targets, w, int(weights != 0)), shape, 1.0)
            for n in range(count if weights != 0 else 0):
                if w[n] == 0.0:
                    losses[n] = 0.0
            result += total(losses, count, lanes)
        return result

    return evaluate


@functools.cache
def gradient(size):
    """Overwrites gradient; returns the cost. One worker, on the caller's workspace, which begins with its job."""
    P = POINTERS[size]

    @kernel(DOUBLE(NET, P, P, P, P, INT, P), size)
    def gradient(net, theta, gradient, x, y, rows, workspace):
        wide_vectors()
        job = job_at(workspace, 0)
        for slot in range(JOB_SLOTS):
            job[slot] = 0
        costs = doubles_at(address_of(shift(job, JOB_SLOTS)))
        costs[1] = rows
        job.net, job.theta, job.gradient = net, address_of(theta), address_of(gradient)
        job.x, job.y = address_of(x), address_of(y)
        job.costs, job.totals = costs, shift(costs, 1)
        job.rows, job.batch, job.steps, job.workers = rows, rows, 1, 1
        shards = shards_of(net, rows)
        job.shards, job.few, job.halves = shards, few_of(net, rows), halves_of(net, rows, shards)
        smoothed = shift(workspace, job_size(net))
        divide(job, net, address_of(shift(smoothed, smoothed_size(net, rows))))
        if net.kept != 0:
            smooth(smoothed, y, rows, net.target_row, net.classes, net.kept, net.spread)
            job.y = address_of(smoothed)
        call(net.train, 0, job)
        return costs[0]

    return gradient


@functools.cache
def finite(size):
    """Returns 1 if all of the numbers are finite, else 0."""
    lanes, piece = lanes_of(size), 4096 // size

    @kernel(INT(POINTERS[size], INT), size)
    def finite(x, count):
        wide_vectors()
        whole = count // piece * piece
        bad = not_finite(shift(x, whole), count - whole, lanes)
        for i in range(0, whole, piece):
            prefetch(shift(x, i + piece), piece)  # memory takes longer than to look at what comes from it
            bad |= not_finite(shift(x, i), piece, lanes)
        return 1 - bad

    return finite


@functools.cache
def needed(size):
    """Elements of workspace for one prediction (rows = 1) or gradient of `rows` examples."""

    @kernel(INT(NET, INT), size)
    def needed(net, rows):
        return embedded_size(net, rows)

    return needed


@register_jitable
def table_of(net):
    """The view of a network table that is an array."""
    return net_at(data_of(net), 0)


@register_jitable
def check_table(net, theta):
    """ValueError unless net is a table of this version, made in this process, for theta's dtype."""
    table = table_of(net)
    if net.size <= PROCESS or table.version != VERSION or table.length != net.size:
        raise ValueError("fastbp.jit: net must come from model.compiled() of the fastbp that compiled this function")
    if table.process != stamp_where_loaded():
        raise ValueError(
            "fastbp.jit: net comes from another process, whose kernels have other addresses: call model.compiled() in "
            "this process, and pass net as an argument (in cached code no global array is renewed)"
        )
    if table.size != theta.itemsize:
        raise ValueError("fastbp.jit: theta must have the model's dtype")


@register_jitable
def workspace_needed(net, rows):
    """`needed`, by address: a user's cached code holds no sizes of an older fastbp."""
    return call_int(table_of(net).needed, data_of(net), rows)
