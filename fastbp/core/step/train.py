"""One worker's part of the training step: examples, sums, update, with a meeting of the team after each.

    halves      only for a first layer with many weights: its forward sums over the inputs whose weights the worker owns
    examples    forward, losses and deltas of the worker's examples
    sums        the gradient of the worker's rows of the weights, over all examples of the mini-batch
    update      theta and the transposed weights of these rows

Where nobody has to see all of the gradient before theta changes, sums and update are one phase, strip by strip of the
rows: the gradient never leaves the caches. In plain gradient descent by a few examples the sums go to theta at once:
see step/update_in_place.py.

A large batch of a small network is cut into shards instead, each with a gradient of its own, summed in order. Both
cuts depend on the batch and the network alone, so any number of workers gives the same bits.
"""

import functools

from fastbp.core.ir.flush_to_zero import flush_subnormals, restore_mode
from fastbp.core.ir.kernel import INT, INTEGERS, VOID, call, call_int, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import doubles_at, floats_at, integers_at, total
from fastbp.core.ir.traced import minimum
from fastbp.core.slots import (
    AFTER_EXAMPLES,
    AFTER_SUMS,
    AFTER_UPDATE,
    JOB_BASE,
    JOB_BATCH,
    JOB_CAPACITY,
    JOB_COSTS,
    JOB_DIRECT,
    JOB_DONE,
    JOB_FIRST,
    JOB_HALVES,
    JOB_LOSSES,
    JOB_NET,
    JOB_ONE,
    JOB_ONLINE,
    JOB_ORDER,
    JOB_PENALTIES,
    JOB_REGION,
    JOB_ROWS,
    JOB_SETTINGS,
    JOB_SETTINGS_ROW,
    JOB_SHARDS,
    JOB_SQUARE,
    JOB_STEPS,
    JOB_TOTALS,
    JOB_UPDATE,
    JOB_X,
    JOB_ZEROS,
    NET_EXAMPLES,
    NET_GRADIENT_SHARE,
    NET_HALVES,
    NET_LEARN_SHARE,
    NET_MEAN,
    NET_PENALTY,
    NET_ROWS,
    NET_UPDATE_SHARE,
    NET_WIDEST,
)
from fastbp.core.step.barrier import meet
from fastbp.core.step.examples import cost_at, inputs_of


@inline
def batch_of(job, s):
    """Epoch, first place in the order, examples and factor of their losses, of the mini-batch of step s."""
    rows, batch, totals = job[JOB_ROWS], job[JOB_BATCH], doubles_at(job[JOB_TOTALS])
    per_epoch, scale = (rows + batch - 1) // batch, 1.0
    epoch, begin = (job[JOB_FIRST] + s) // per_epoch, (job[JOB_FIRST] + s) % per_epoch * batch
    position = begin + epoch * rows if job[JOB_ORDER] != 0 else begin
    if integers_at(job[JOB_NET])[NET_MEAN] != 0:
        scale = 1.0 / totals[s] if totals[s] > 0.0 else 0.0
    return epoch, position, minimum(batch, rows - begin), scale


def summing(size):
    """(job, count) -> the sum of a mini-batch's losses, for `inline`."""
    lanes = lanes_of(size)

    @inline
    def cost_of(job, count):
        if job[JOB_SHARDS] == 1:
            return total(floats_at(job[JOB_LOSSES], size), count, lanes)
        cost = 0.0
        for shard in range(job[JOB_SHARDS]):
            cost += doubles_at(cost_at(job, shard, size))[0]
        return cost

    return cost_of


def deciding(size):
    """(job, position, count, s) -> whether the sums of this step go to theta, see update_in_place.py."""

    @inline
    def made_online(job, position, count, s):
        net, region = integers_at(job[JOB_NET]), floats_at(job[JOB_REGION], size)
        x, x_row = inputs_of(job, floats_at(job[JOB_X], size), region, position)
        rate = doubles_at(job[JOB_SETTINGS])[s * job[JOB_SETTINGS_ROW]]
        return call_int(job[JOB_ONLINE], net, x, x_row, region, job[JOB_CAPACITY], count, rate)

    return made_online


@functools.cache
def train(size):
    """The worker: all mini-batches of a job (JOB_UPDATE = 0: only the gradient of each), with subnormals as 0."""
    lanes, cost_of, made_online = lanes_of(size), summing(size), deciding(size)

    @kernel(VOID(INT, INTEGERS), size)
    def train(rank, job):
        wide_vectors()
        net, costs = integers_at(job[JOB_NET]), doubles_at(job[JOB_COSTS])
        zeros, one = floats_at(job[JOB_ZEROS], size), floats_at(job[JOB_ONE], size)
        mode = flush_subnormals()
        if rank == 0:
            for i in range(net[NET_WIDEST]):
                zeros[i] = 0.0
            one[0] = 1.0
        call(net[NET_UPDATE_SHARE], rank, job, -1)
        at_once = job[JOB_UPDATE] != 0 and net[NET_PENALTY] == 0 and job[JOB_SQUARE] == 0
        meeting = 0
        for s in range(job[JOB_STEPS]):
            meeting += 1
            if not meet(job, meeting, AFTER_UPDATE):
                break
            epoch, position, count, scale = batch_of(job, s)
            if job[JOB_HALVES] != 0:
                call(net[NET_HALVES], rank, job, position, count)
                meeting += 1
                if not meet(job, meeting, AFTER_UPDATE):
                    break
            call(net[NET_EXAMPLES], rank, job, epoch, position, count, scale)
            meeting += 1
            if not meet(job, meeting, AFTER_EXAMPLES):
                break
            if rank == 0:
                costs[s] = cost_of(job, count) * scale
            if job[JOB_ONLINE] != 0:
                if rank == 0:
                    job[JOB_DIRECT] = made_online(job, position, count, s)
                meeting += 1
                if not meet(job, meeting, AFTER_EXAMPLES):
                    break
            if at_once:
                call(net[NET_LEARN_SHARE], rank, job, position, count, s)
            else:
                call(net[NET_GRADIENT_SHARE], rank, job, position, count)
                meeting += 1
                if not meet(job, meeting, AFTER_SUMS):
                    break
                if rank == 0 and net[NET_PENALTY] != 0:
                    costs[s] += total(doubles_at(job[JOB_PENALTIES]), net[NET_ROWS], lanes)
                if job[JOB_UPDATE] != 0:
                    call(net[NET_UPDATE_SHARE], rank, job, s)
            if rank == 0:
                job[JOB_DONE] = job[JOB_BASE] + s + 1
        restore_mode(mode)

    return train


@functools.cache
def apply(size):
    """Step 0 of a job by the gradient that it has, as `train` makes it after the sums; by one worker."""

    @kernel(VOID(INTEGERS), size)
    def apply(job):
        mode = flush_subnormals()
        if job[JOB_SQUARE] != 0:
            call(job[JOB_SQUARE], 0, job)
        call(integers_at(job[JOB_NET])[NET_UPDATE_SHARE], 0, job, 0)
        job[JOB_DONE] = job[JOB_BASE] + 1
        restore_mode(mode)

    return apply
