"""One worker's part of the training steps, in phases: no worker begins one before all have ended the one before.

    halves                 partial sums of a first layer with many weights, over the inputs whose weights a worker owns
    examples               forward, losses and deltas of the worker's examples
    decision               by the first worker: whether theta can be updated in place
    gradient and update    of the worker's rows of the weights, one block of rows at a time, which stays in the caches
    gradient, update       the same in two phases, where a kernel needs the whole gradient before theta changes

Plain gradient descent on a few examples can update theta in place: see step/update_in_place.py.

A large batch of a small network is cut into shards, each with a separate gradient; these are added in order. Both cuts
depend on the batch and the network alone, so any number of workers gives the same bits.
"""

import functools

from fastbp.core.ir.flush_to_zero import flush_subnormals, restore_mode
from fastbp.core.ir.kernel import INT, VOID, call, call_int, inline, kernel, lanes_of, wide_vectors
from fastbp.core.ir.memory import doubles_at, floats_at, total
from fastbp.core.ir.traced import minimum
from fastbp.core.slots import AFTER_EXAMPLES, AFTER_GRADIENT, AFTER_UPDATE, JOB
from fastbp.core.step.barrier import barrier
from fastbp.core.step.examples import cost_at, inputs_of

PHASES = 6
HALVES, EXAMPLES, DECISION, GRADIENT_AND_UPDATE, GRADIENT, UPDATE = range(PHASES)
COPIES_ONLY = -1
"""In the place of the step for `update_share`: it makes the transposed and packed weights, and updates nothing."""


@inline
def batch_of(job, s):
    """Epoch, first position, number of examples and factor of their losses, of the mini-batch of step s."""
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
    """(job, position, count, s) -> whether step s updates theta in place, for `inline`."""

    @inline
    def updates_in_place(job, position, count, s):
        net, region = job.net, floats_at(job.region, size)
        x, x_row = inputs_of(job, floats_at(job.x, size), region, position)
        rate = job.settings[s * job.settings_row]
        return call_int(job.update_in_place, net, x, x_row, region, job.capacity, count, rate)

    return updates_in_place


@inline
def has(job, phase):
    """Whether the steps of a job have this phase."""
    if phase == EXAMPLES:
        return True
    if phase == HALVES:
        return job.halves != 0
    if phase == DECISION:
        return job.update_in_place != 0
    # clipping and penalties need the whole gradient before theta changes
    fused = job.update != 0 and job.net.penalty == 0 and job.sum_squares == 0
    return fused == (phase == GRADIENT_AND_UPDATE)


def phases(size):
    """(rank, job, s, phase, batch): one phase of step s; returns where in Job.outcomes its outcome is, for `inline`."""
    lanes, cost_of, updates_in_place = lanes_of(size), summing(size), deciding(size)

    @inline
    def run(rank, job, s, phase, batch):
        net, first = job.net, rank == 0
        epoch, position, count, scale = batch
        if phase == HALVES:
            call(net.halves, rank, job, position, count)
            return AFTER_UPDATE
        if phase == EXAMPLES:
            call(net.examples, rank, job, epoch, position, count, scale)
            return AFTER_EXAMPLES
        if phase == DECISION:
            if first:
                job.in_place = updates_in_place(job, position, count, s)
            return AFTER_EXAMPLES
        if first and phase != UPDATE:
            job.costs[s] = cost_of(job, count) * scale
        if phase == GRADIENT:
            call(net.gradient_share, rank, job, position, count)
            return AFTER_GRADIENT
        if phase == GRADIENT_AND_UPDATE:
            call(net.gradient_and_update_share, rank, job, position, count, s)
        else:
            if first and net.penalty != 0:
                job.costs[s] += total(job.penalties, net.rows, lanes)
            if job.update != 0:
                call(net.update_share, rank, job, s)
        if first:
            job.done = job.base + s + 1
        return AFTER_UPDATE

    return run


@inline
def fill_constants(job, zeros, one):
    """What kernels read by address."""
    for i in range(job.net.widest):
        zeros[i] = 0.0
    one[0] = 1.0


@functools.cache
def train(size):
    """The worker: all mini-batches of a job (job.update = 0: only the gradient of each), with subnormals as 0."""
    run = phases(size)

    @inline
    def train_steps(rank, job):
        number, outcome = 0, AFTER_UPDATE  # of `update_share` in train
        for s in range(job.steps):
            batch = batch_of(job, s)
            for phase in range(PHASES):
                if has(job, phase):
                    number += 1
                    if not barrier(job, number, outcome):
                        return
                    outcome = run(rank, job, s, phase, batch)

    @kernel(VOID(INT, JOB), size)
    def train(rank, job):
        wide_vectors()
        mode = flush_subnormals()
        if rank == 0:
            fill_constants(job, floats_at(job.zeros, size), floats_at(job.one, size))
        call(job.net.update_share, rank, job, COPIES_ONLY)
        train_steps(rank, job)
        restore_mode(mode)

    return train


@functools.cache
def apply(size):
    """Applies the update of step 0 with the gradient that is in the job; by one worker."""

    @kernel(VOID(JOB), size)
    def apply(job):
        mode = flush_subnormals()
        if job.sum_squares != 0:
            call(job.sum_squares, 0, job)
        call(job.net.update_share, 0, job, 0)
        job.done = job.base + 1
        restore_mode(mode)

    return apply
