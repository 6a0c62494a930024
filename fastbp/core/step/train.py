"""One worker's part of the training step: examples, sums, update, with a barrier after each.

    halves      only for a first layer with many weights: its forward sums over the inputs whose weights the worker owns
    examples    forward, losses and deltas of the worker's examples
    sums        the gradient of the worker's rows of the weights, over all examples of the mini-batch
    update      theta and the transposed weights of these rows

Where no kernel needs the whole gradient before theta changes, sums and update are one phase, strip by strip of the
rows: the gradient never leaves the caches. In plain gradient descent by a few examples the sums go to theta at once:
see step/update_in_place.py.

A large batch of a small network is cut into shards instead, each with a gradient of its own, summed in order. Both
cuts depend on the batch and the network alone, so any number of workers gives the same bits.
"""

import functools

from fastbp.core.ir.flush_to_zero import flush_subnormals, restore_mode
from fastbp.core.ir.kernel import INT, VOID, call, call_int, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import doubles_at, floats_at, total
from fastbp.core.ir.traced import minimum
from fastbp.core.slots import AFTER_EXAMPLES, AFTER_SUMS, AFTER_UPDATE, JOB
from fastbp.core.step.barrier import barrier
from fastbp.core.step.examples import cost_at, inputs_of


@inline
def batch_of(job, s):
    """Epoch, first place in the order, examples and factor of their losses, of the mini-batch of step s."""
    rows, batch, totals = job.rows, job.batch, job.totals
    per_epoch, scale = (rows + batch - 1) // batch, 1.0
    epoch, begin = (job.first + s) // per_epoch, (job.first + s) % per_epoch * batch
    position = begin + epoch * rows if job.order != 0 else begin
    if job.net.mean != 0:
        scale = 1.0 / totals[s] if totals[s] > 0.0 else 0.0
    return epoch, position, minimum(batch, rows - begin), scale


def summing(size):
    """(job, count) -> the sum of a mini-batch's losses, for `inline`."""
    lanes = lanes_of(size)

    @inline
    def cost_of(job, count):
        if job.shards == 1:
            return total(floats_at(job.losses, size), count, lanes)
        cost = 0.0
        for shard in range(job.shards):
            cost += doubles_at(cost_at(job, shard, size))[0]
        return cost

    return cost_of


def deciding(size):
    """(job, position, count, s) -> whether the sums of this step go to theta, see update_in_place.py."""

    @inline
    def made_online(job, position, count, s):
        net, region = job.net, floats_at(job.region, size)
        x, x_row = inputs_of(job, floats_at(job.x, size), region, position)
        rate = job.settings[s * job.settings_row]
        return call_int(job.in_place, net, x, x_row, region, job.capacity, count, rate)

    return made_online


@functools.cache
def train(size):
    """The worker: all mini-batches of a job (job.update = 0: only the gradient of each), with subnormals as 0."""
    lanes, cost_of, made_online = lanes_of(size), summing(size), deciding(size)

    @kernel(VOID(INT, JOB), size)
    def train(rank, job):
        wide_vectors()
        net, costs = job.net, job.costs
        zeros, one = floats_at(job.zeros, size), floats_at(job.one, size)
        mode = flush_subnormals()
        if rank == 0:
            for i in range(net.widest):
                zeros[i] = 0.0
            one[0] = 1.0
        call(net.update_share, rank, job, -1)
        at_once = job.update != 0 and net.penalty == 0 and job.square == 0
        number = 0
        for s in range(job.steps):
            number += 1
            if not barrier(job, number, AFTER_UPDATE):
                break
            epoch, position, count, scale = batch_of(job, s)
            if job.halves != 0:
                call(net.halves, rank, job, position, count)
                number += 1
                if not barrier(job, number, AFTER_UPDATE):
                    break
            call(net.examples, rank, job, epoch, position, count, scale)
            number += 1
            if not barrier(job, number, AFTER_EXAMPLES):
                break
            if rank == 0:
                costs[s] = cost_of(job, count) * scale
            if job.in_place != 0:
                if rank == 0:
                    job.direct = made_online(job, position, count, s)
                number += 1
                if not barrier(job, number, AFTER_EXAMPLES):
                    break
            if at_once:
                call(net.learn_share, rank, job, position, count, s)
            else:
                call(net.gradient_share, rank, job, position, count)
                number += 1
                if not barrier(job, number, AFTER_SUMS):
                    break
                if rank == 0 and net.penalty != 0:
                    costs[s] += total(job.penalties, net.rows, lanes)
                if job.update != 0:
                    call(net.update_share, rank, job, s)
            if rank == 0:
                job.done = job.base + s + 1
        restore_mode(mode)

    return train


@functools.cache
def apply(size):
    """Step 0 of a job by the gradient that it has, as `train` makes it after the sums; by one worker."""

    @kernel(VOID(JOB), size)
    def apply(job):
        mode = flush_subnormals()
        if job.square != 0:
            call(job.square, 0, job)
        call(job.net.update_share, 0, job, 0)
        job.done = job.base + 1
        restore_mode(mode)

    return apply
