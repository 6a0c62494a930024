"""How much memory a step needs and how it is divided: plain functions, called from Python and from compiled code.

A workspace for training has the parts that `parts` lists. The regions are for all examples of the mini-batch or, with
shards, for one block of each worker; a region holds the activations and the gathered inputs, targets and weights.
All sizes are in elements.
"""

import functools
import inspect

import numpy as np
from numba.extending import overload, register_jitable

from fastbp.core.ir.views import OfArray
from fastbp.core.slots import FRAME_SLOTS, HEADER, JOB_SLOTS, Job, Layer, Net

SHARD_WORK = 5_000_000  # floating-point operations of a shard, at least, times the bytes of a number: about 5 us
SHARD_EXAMPLES = 64  # at least: to add up gradients costs 2 / examples of computing them
MOST_SHARDS = 8
FEW = 4  # examples
MANY = 16  # examples
ONE = 16  # elements kept for a single number: what follows begins at a cache line
FIRST_STRIDE = HEADER + Layer.stride
PARTS = Job.zeros  # the first of the job's fields that are parts of the workspace


def for_tables(function):
    """`register_jitable` for a function that gets tables as `net` and `job`: from Python it takes them as arrays."""
    tables = [{"net": Net, "job": Job}.get(name) for name in inspect.signature(function).parameters]

    @functools.wraps(function)
    def of_arrays(*arguments):
        return function(
            *(
                OfArray(table, argument) if table and isinstance(argument, np.ndarray) else argument
                for table, argument in zip(tables, arguments, strict=True)
            )
        )

    overload(of_arrays, strict=False)(lambda *types: function)
    return of_arrays


@register_jitable
def padded(count):
    """Rounded up so that what follows begins at a cache line."""
    return (count + 15) // 16 * 16


@for_tables
def shards_of(net, batch):
    """Parts of a batch with separate gradients: the largest power of 2 that leaves each enough work and takes less
    memory for the gradients than for the batch's activations.
    """
    shards = 1 if net.directions == 0 else 2  # training on derivatives needs a gradient for each shard
    while (
        shards < MOST_SHARDS
        and 2 * shards * SHARD_EXAMPLES <= batch
        and 2 * shards * SHARD_WORK <= batch * net.flops * net.size
        and 2 * shards * net.parameters <= batch * net.row
    ):
        shards *= 2
    return shards


@for_tables
def capacity_of(net):
    """Examples for which the region of a shard has room: a block, or one and a small one."""
    return padded(net.block + net.block // 2)


@for_tables
def few_of(net, batch):
    """1 for so few examples that transposing the weights costs more than their deltas without it, else 0."""
    if batch <= FEW and net.few_rows != 0:
        return 1
    return 0


@for_tables
def halves_of(net, batch, shards):
    """1 for enough examples of a first layer with many weights: these stay with the worker that owns them, else 0."""
    if net.halves != 0 and batch >= MANY and shards == 1:
        return 1
    return 0


@for_tables
def packed_size(net, batch):
    """For packed weights, which pay for many examples."""
    if batch < MANY:
        return 0
    return net.packed


@for_tables
def half_size(net, batch, shards):
    """For the first layer's sums over the second half of the inputs."""
    return halves_of(net, batch, shards) * padded(batch) * net[FIRST_STRIDE]


@for_tables
def region_size(net, capacity):
    """For `capacity` examples: activations, gathered inputs, targets and weights; what derivatives need behind."""
    size = padded(capacity) * (net.row + net.input_stride + net.target_row + 1)
    return size + (sum_of(derivative_parts(net, capacity)) if net.directions != 0 else 0)


@for_tables
def derivative_parts(net, capacity):
    """Elements of the parts of a region for training on derivatives: see derivatives/training.py."""
    rows = padded(capacity * net.directions)
    return (
        (FRAME_SLOTS + 8) * 8 // net.size,
        rows * net.row,  # order_1
        padded(rows * net.inputs),  # u
        padded(rows * net.inputs),  # gathered dy
    )


@for_tables
def penalties_size(net):
    """For a float64 for each row of weights, if there is a penalty."""
    if net.penalty == 0:
        return 0
    return padded(net.rows) * 8 // net.size


@for_tables
def shard_size(net):
    """For the gradient of a shard and, on a separate cache line, its cost."""
    return padded(net.parameters) + ONE


@for_tables
def parts(net, batch, shards, workers):
    """The elements of each part of a workspace, in the order of the job's fields from `zeros` to `region`."""
    region = region_size(net, batch) if shards == 1 else workers * region_size(net, capacity_of(net))
    return (
        net.widest,  # zeros
        ONE,  # one
        padded(batch),  # losses
        padded(batch),  # spare
        net.transposed,  # wt
        packed_size(net, batch),  # packed
        workers * net.scratch,  # scratch
        workers * net.strip,  # strips
        penalties_size(net),  # penalties
        shards * shard_size(net) if shards > 1 else 0,  # shard
        half_size(net, batch, shards),  # half
        region,  # region
    )


@for_tables
def training_size(net, batch, shards, workers):
    """For mini-batches of up to `batch` examples."""
    return sum_of(parts(net, batch, shards, workers))


@register_jitable
def sum_of(sizes):
    total = 0
    for size in sizes:
        total += size
    return total


@for_tables
def divide(job, net, address):
    """Fill in the job's fields that tell where the parts of the workspace at `address` are, and how large."""
    sizes, shards = parts(net, job.batch, job.shards, job.workers), job.shards
    for i in range(len(sizes)):
        job[PARTS + i] = address
        address += sizes[i] * net.size
    if packed_size(net, job.batch) == 0:
        job.packed = 0
    job.shard_size = shard_size(net)
    job.region_size = region_size(net, capacity_of(net)) if shards > 1 else 0
    job.capacity = capacity_of(net) if shards > 1 else padded(job.batch)


@for_tables
def inference_size(net):
    """For predictions and costs of any number of examples."""
    return net.widest + ONE + 2 * padded(net.block) + region_size(net, net.block)


@for_tables
def job_size(net):
    """For a job and the two numbers that it needs, at the beginning of a workspace."""
    return (JOB_SLOTS + 8) * 8 // net.size


@for_tables
def smoothed_size(net, rows):
    """For smoothed targets."""
    if net.kept == 0:
        return 0
    return padded(rows * net.target_row)


@for_tables
def embedded_size(net, rows):
    """For one prediction or gradient of exactly `rows` examples, in a workspace alone."""
    training = smoothed_size(net, rows) + training_size(net, rows, shards_of(net, rows), 1)
    return job_size(net) + max(inference_size(net), training)


def largest_size(net, rows):
    """For any number of examples up to `rows`."""
    training = max(training_size(net, rows, shards, 1) for shards in (1, shards_of(net, rows)))
    return job_size(net) + max(inference_size(net), smoothed_size(net, rows) + training)
