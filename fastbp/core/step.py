"""One worker's part of the training step: examples, sums, update, with a meeting of the team after each.

    examples    forward, cost and deltas of the worker's examples
    sums        the gradient of the worker's rows of the weights, over all examples of the mini-batch
    update      theta and the transposed weights of these rows

A large batch of a small network is cut into shards instead, each with a gradient of its own, summed in order. Both
cuts depend on the batch and the network alone, so any number of workers gives the same bits.
"""

import functools

from .backprop import layer_of, share, transpose_share
from .compile import DOUBLE, INT, INTEGERS, POINTERS, VOID, call, call_int, inline, kernel, lanes_of, wide_vectors
from .elementary import INFINITY
from .simd import absolute, address_of, doubles_at, every, first, floats_at, integers_at, load, not_all, shift, store
from .sync import atomic_load, atomic_store, meet
from .table import *  # noqa: F403
from .workspace import ONE, job_size, padded, region_size, shards_of


@inline
def copy(out, x, count, lanes):
    """Overwrites out (count): out = x."""
    for i in range(0, count, lanes):
        mask = first(count - i, lanes)
        store(shift(out, i), load(shift(x, i), mask), mask)


@inline
def total(x, count):
    """Σ_n x_n as float64 in a fixed order: eight running sums."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    n = 0
    while n + 8 <= count:
        s0 += x[n]
        s1 += x[n + 1]
        s2 += x[n + 2]
        s3 += x[n + 3]
        s4 += x[n + 4]
        s5 += x[n + 5]
        s6 += x[n + 6]
        s7 += x[n + 7]
        n += 8
    while n < count:
        s0 += x[n]
        n += 1
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@inline
def all_finite(x, begin, end, lanes):
    """1 if no x_i, begin <= i < end, is NaN or infinite, else 0."""
    for i in range(begin, end, lanes):
        v = load(shift(x, i), first(end - i, lanes))
        if not_all(absolute(v) < INFINITY(v)):
            return 0
    return 1


@inline
def outcome_is_bad(job, phase):
    return atomic_load(job, JOB_OUTCOME + phase) != COMPLETE


def make_gather(size):
    lanes = lanes_of(size)

    @inline
    def gather(job, net, region, capacity, row, epoch, position, rows, one):
        """Where the inputs, targets and weights of `rows` examples are: (x, x_row, y, weights, w_row).

        Examples at consecutive places in the caller's arrays stay there; by an order they are copied to the region.
        """
        n_in, n_y, x_row = net[NET_INPUTS], net[NET_TARGETS], net[NET_INPUT_STRIDE]
        X, Y = floats_at(job[JOB_X], size), floats_at(job[JOB_Y], size)
        weighted, W = job[JOB_WEIGHTS] != 0, floats_at(job[JOB_WEIGHTS], size)
        if job[JOB_ORDER] == 0:
            weights = shift(W, position) if weighted else one
            return shift(X, position * job[JOB_X_ROW]), job[JOB_X_ROW], shift(Y, position * n_y), weights, int(weighted)
        x = shift(region, capacity * net[NET_ROW] + row * x_row)
        y = shift(region, capacity * (net[NET_ROW] + x_row) + row * n_y)
        weights = shift(region, capacity * (net[NET_ROW] + x_row + n_y) + row)
        order = shift(integers_at(job[JOB_ORDER]), epoch * job[JOB_ROWS] + position)
        for n in range(rows):
            copy(shift(x, n * x_row), shift(X, order[n] * job[JOB_X_ROW]), n_in, lanes)
            copy(shift(y, n * n_y), shift(Y, order[n] * n_y), n_y, lanes)
            if weighted:
                weights[n] = W[order[n]]
        return x, x_row, y, weights if weighted else one, int(weighted)

    return gather


@functools.cache
def examples(size):
    """Forward, cost and deltas of a worker's part of a mini-batch, and with shards their gradients.

    Overwrites costs, the region's activations, the shards' gradients. Sets the outcome STOPPED or DIVERGED.
    """
    P = POINTERS[size]
    lanes = lanes_of(size)
    gather = make_gather(size)

    @kernel(VOID(INTEGERS, P, P, P, INT, INT, INT, INT, INT, DOUBLE), size)
    def examples(job, zeros, one, costs, epoch, begin, count, rank, workers, scale):
        wide_vectors()
        net, theta = integers_at(job[JOB_NET]), floats_at(job[JOB_THETA], size)
        batch, shards, block = padded(job[JOB_BATCH]), job[JOB_SHARDS], net[NET_BLOCK]
        spare = shift(costs, batch)
        wt, shard_gradients, region = layout(job, net, costs, batch)
        capacity = batch
        if shards > 1:
            capacity = block
            region = shift(region, rank * region_size(net, block))
        units = workers if shards == 1 else shards
        for unit in range(units * rank // workers, units * (rank + 1) // workers):
            low, high = count * unit // units, count * (unit + 1) // units
            gradient = shift(shard_gradients, unit * padded(net[NET_PARAMETERS]))
            first_row = low
            while True:
                rows = min(block, high - first_row)
                row = first_row if shards == 1 else 0
                x, x_row, y, weights, w_row = gather(
                    job, net, region, capacity, row, epoch, begin + first_row, rows, one
                )
                call(net[NET_FORWARD], net, theta, zeros, x, x_row, region, capacity, row, rows, 1 - net[NET_FUSED])
                call(net[NET_BACKWARD], net, wt, zeros, shift(costs, first_row), shift(spare, first_row), y,
                     weights, w_row, scale, region, capacity, row, rows)  # fmt: skip
                if shards > 1:
                    call(net[NET_SUMS], net, gradient, int(first_row > low), zeros, one, x, x_row, region, capacity,
                         rows, 0, 1)  # fmt: skip
                if job[JOB_UPDATE] != 0 and not all_finite(costs, first_row, first_row + rows, lanes):
                    atomic_store(job, JOB_OUTCOME, DIVERGED)
                if atomic_load(job, JOB_STOP):
                    atomic_store(job, JOB_OUTCOME, STOPPED)
                    return
                first_row += rows
                if first_row >= high:
                    break

    return examples


@functools.cache
def gradient_share(size):
    """The gradient of a worker's rows of the weights, after `examples`. Overwrites it; sets the outcome DIVERGED."""
    P = POINTERS[size]
    lanes = lanes_of(size)

    @kernel(VOID(INTEGERS, P, P, P, INT, INT, INT, INT), size)
    def gradient_share(job, zeros, one, costs, begin, count, rank, workers):
        wide_vectors()
        net, gradient = integers_at(job[JOB_NET]), floats_at(job[JOB_GRADIENT], size)
        batch, shards = padded(job[JOB_BATCH]), job[JOB_SHARDS]
        _, shard_gradients, region = layout(job, net, costs, batch)
        if shards == 1:
            x, x_row = shift(floats_at(job[JOB_X], size), begin * job[JOB_X_ROW]), job[JOB_X_ROW]
            if job[JOB_ORDER] != 0:
                x, x_row = shift(region, batch * net[NET_ROW]), net[NET_INPUT_STRIDE]
            call(net[NET_SUMS], net, gradient, 0, zeros, one, x, x_row, region, batch, count, rank, workers)
        for l in range(net[NET_LAYERS]):
            begin, end = range_of_share(layer_of(net, l), rank, workers)
            if shards > 1:
                for i in range(begin, end, lanes):
                    mask = first(end - i, lanes)
                    total = load(shift(shard_gradients, i), mask)
                    for shard in range(1, shards):
                        part = shift(shard_gradients, shard * padded(net[NET_PARAMETERS]) + i)
                        total = total + load(part, mask)
                    store(shift(gradient, i), total, mask)
            if job[JOB_UPDATE] != 0 and not all_finite(gradient, begin, end, lanes):
                atomic_store(job, JOB_OUTCOME + 1, DIVERGED)

    return gradient_share


@inline
def range_of_share(layer, rank, workers):
    """First and end element in theta of a worker's rows of a layer."""
    low, high = share(layer, rank, workers)
    return layer[LAYER_W] + low * layer[LAYER_OUT], layer[LAYER_W] + high * layer[LAYER_OUT]


@inline
def update_share(job, net, theta, gradient, moments, t, rank, workers):
    """The optimizer's step for a worker's rows; sets the outcome DIVERGED where an element would overflow."""
    settings = doubles_at(job[JOB_SETTINGS])
    for l in range(net[NET_LAYERS]):
        begin, end = range_of_share(layer_of(net, l), rank, workers)
        if call_int(job[JOB_UPDATE], theta, gradient, moments, net[NET_PARAMETERS], begin, end, settings, t):
            atomic_store(job, JOB_OUTCOME + 2, DIVERGED)


@inline
def layout(job, net, costs, batch):
    """(transposed weights, shards' gradients, regions) in the workspace, behind the costs."""
    wt = shift(costs, 2 * batch)
    shard_gradients = shift(wt, net[NET_TRANSPOSED])
    shards = job[JOB_SHARDS] if job[JOB_SHARDS] > 1 else 0
    return wt, shard_gradients, shift(shard_gradients, shards * padded(net[NET_PARAMETERS]))


def make_scale_of(size):
    @inline
    def scale_of(job, net, epoch, begin, count):
        """(sum of the weights of a mini-batch, the factor of each example's w_n C_n in the cost)."""
        weights_sum = float(count)
        if job[JOB_WEIGHTS] != 0:
            W, order = floats_at(job[JOB_WEIGHTS], size), integers_at(job[JOB_ORDER])
            weights_sum = 0.0
            for n in range(begin, begin + count):
                weights_sum += W[order[epoch * job[JOB_ROWS] + n] if job[JOB_ORDER] != 0 else n]
        if net[NET_MEAN] == 0:
            return weights_sum, 1.0
        return weights_sum, 1.0 / weights_sum if weights_sum > 0.0 else 0.0

    return scale_of


@functools.cache
def train(size):
    """The worker: all mini-batches of a job (JOB_UPDATE = 0: only the gradient of each)."""
    lanes = lanes_of(size)
    scale_of = make_scale_of(size)

    @kernel(VOID(INT, INT, INTEGERS), size)
    def train(rank, workers, job):
        net = integers_at(job[JOB_NET])
        theta, gradient = floats_at(job[JOB_THETA], size), floats_at(job[JOB_GRADIENT], size)
        moments, zeros = floats_at(job[JOB_MOMENTS], size), floats_at(job[JOB_WORKSPACE], size)
        one = shift(zeros, net[NET_WIDEST])
        costs = shift(one, ONE)
        batch = padded(job[JOB_BATCH])
        wt, _, _ = layout(job, net, costs, batch)
        step_costs, totals = doubles_at(job[JOB_COSTS]), doubles_at(job[JOB_TOTALS])
        if rank == 0:
            for i in range(net[NET_WIDEST]):
                zeros[i] = 0.0
            one[0] = 1.0
        transpose_share(net, theta, wt, rank, workers)
        if not meet(job, 1, workers):
            return
        per_epoch = (job[JOB_ROWS] + job[JOB_BATCH] - 1) // job[JOB_BATCH]
        for s in range(job[JOB_STEPS]):
            epoch, number = (job[JOB_FIRST] + s) // per_epoch, (job[JOB_FIRST] + s) % per_epoch
            begin = number * job[JOB_BATCH]
            count = min(job[JOB_BATCH], job[JOB_ROWS] - begin)
            weights_sum, scale = scale_of(job, net, epoch, begin, count)
            call(net[NET_EXAMPLES], job, zeros, one, costs, epoch, begin, count, rank, workers, scale)
            if not meet(job, 3 * s + 2, workers) or outcome_is_bad(job, 0):
                return
            if rank == 0:
                step_costs[s] = total(costs, count) * scale
                totals[s] = weights_sum
            call(net[NET_SHARE], job, zeros, one, costs, begin, count, rank, workers)
            if not meet(job, 3 * s + 3, workers) or outcome_is_bad(job, 1):
                return
            if job[JOB_UPDATE] != 0:
                update_share(job, net, theta, gradient, moments, job[JOB_UPDATES] + s + 1, rank, workers)
                transpose_share(net, theta, wt, rank, workers)
            if rank == 0:
                job[JOB_DONE] = s + 1
            if not meet(job, 3 * s + 4, workers) or outcome_is_bad(job, 2):
                return

    return train


@functools.cache
def gradient(size):
    """Overwrites gradient; returns the cost. For callers without a job: one worker, on the caller's workspace.

    The job lies at the beginning of the workspace, then the two numbers that it returns.
    """
    P = POINTERS[size]

    @kernel(DOUBLE(INTEGERS, P, P, P, P, INT, P), size)
    def gradient(net, theta, gradient, x, y, rows, workspace):
        job = integers_at(address_of(workspace))
        for slot in range(JOB_SLOTS):
            job[slot] = 0
        cost = shift(job, JOB_SLOTS)
        job[JOB_NET], job[JOB_THETA], job[JOB_GRADIENT] = address_of(net), address_of(theta), address_of(gradient)
        job[JOB_WORKSPACE] = address_of(shift(workspace, job_size(net)))
        job[JOB_X], job[JOB_X_ROW], job[JOB_Y] = address_of(x), net[NET_INPUTS], address_of(y)
        job[JOB_ROWS], job[JOB_BATCH], job[JOB_STEPS] = rows, rows, 1
        job[JOB_SHARDS] = shards_of(net, rows)
        job[JOB_COSTS], job[JOB_TOTALS] = address_of(cost), address_of(shift(cost, 1))
        call(net[NET_TRAIN], 0, 1, job)
        return doubles_at(job[JOB_COSTS])[0]

    return gradient


@functools.cache
def evaluate(size):
    """Returns Σ_n w_n C_n over the examples (weights: an address, or 0)."""
    P = POINTERS[size]

    @kernel(DOUBLE(INTEGERS, P, P, P, INT, INT, P), size)
    def evaluate(net, theta, x, y, weights, rows, workspace):
        zeros = workspace
        for i in range(net[NET_WIDEST]):
            zeros[i] = 0.0
        one = shift(zeros, net[NET_WIDEST])
        one[0] = 1.0
        block, fused = net[NET_BLOCK], net[NET_FUSED]
        costs = shift(one, ONE)
        work = shift(costs, 2 * padded(block))
        layer = layer_of(net, net[NET_LAYERS] - 1)
        a, d = shift(work, block * layer[LAYER_A]), shift(work, block * layer[LAYER_DA])
        if fused:
            a = shift(work, block * layer[LAYER_Z])
        sum_of_costs = 0.0
        for begin in range(0, rows, block):
            count = min(block, rows - begin)
            call(net[NET_FORWARD], net, theta, zeros, shift(x, begin * net[NET_INPUTS]), net[NET_INPUTS], work, block,
                 0, count, 1 - fused)  # fmt: skip
            w = shift(floats_at(weights, size), begin) if weights else one
            call(net[NET_LOSS], d, costs, shift(costs, padded(block)), a, shift(y, begin * net[NET_TARGETS]), w,
                 int(weights != 0), count, layer[LAYER_OUT], layer[LAYER_STRIDE], 1.0)  # fmt: skip
            sum_of_costs += total(costs, count)
        return sum_of_costs

    return evaluate


@functools.cache
def predict(size):
    """Overwrites out (rows, outputs): the last layer's a for the inputs x, a block of examples at a time."""
    P = POINTERS[size]
    lanes = lanes_of(size)

    @kernel(VOID(INTEGERS, P, P, P, INT, P), size)
    def predict(net, theta, out, x, rows, workspace):
        wide_vectors()
        zeros = workspace
        for i in range(net[NET_WIDEST]):
            zeros[i] = 0.0
        block, n_out = net[NET_BLOCK], net[NET_OUTPUTS]
        work = shift(zeros, net[NET_WIDEST])
        layer = layer_of(net, net[NET_LAYERS] - 1)
        a = shift(work, block * layer[LAYER_A])
        for begin in range(0, rows, block):
            count = min(block, rows - begin)
            x_block = shift(x, begin * net[NET_INPUTS])
            call(net[NET_FORWARD], net, theta, zeros, x_block, net[NET_INPUTS], work, block, 0, count, 1)
            for n in range(count):
                copy(shift(out, (begin + n) * n_out), shift(a, n * layer[LAYER_STRIDE]), n_out, lanes)

    return predict
