"""How much memory a step needs and how it is divided: plain functions, called from Python and from compiled code.

A workspace for training: zeros (NET_WIDEST), a one, losses and spare numbers of the mini-batch's examples, the
transposed weights, the packed weights, the workers' scratch and strips, the rows' penalties, the shards' gradients or
the second halves of the first layer's sums, then a region for all examples of the mini-batch or, with shards, a region
for one block of each worker. A region holds the activations and the gathered inputs, targets and weights.
All sizes are in elements.
"""

from numba.extending import register_jitable

from fastbp.core.slots import (
    HEADER,
    JOB_BATCH,
    JOB_CAPACITY,
    JOB_HALF,
    JOB_LOSSES,
    JOB_ONE,
    JOB_PACKED,
    JOB_PENALTIES,
    JOB_REGION,
    JOB_REGION_SIZE,
    JOB_SCRATCH,
    JOB_SHARD,
    JOB_SHARD_SIZE,
    JOB_SHARDS,
    JOB_SLOTS,
    JOB_SPARE,
    JOB_STRIPS,
    JOB_WORKERS,
    JOB_WT,
    JOB_ZEROS,
    LAYER_STRIDE,
    NET_BLOCK,
    NET_DOTS,
    NET_FLOPS,
    NET_HALVES,
    NET_INPUT_STRIDE,
    NET_KEPT,
    NET_PACKED,
    NET_PARAMETERS,
    NET_PENALTY,
    NET_ROW,
    NET_ROWS,
    NET_SCRATCH,
    NET_SIZE,
    NET_STRIP,
    NET_TARGET_ROW,
    NET_TRANSPOSED,
    NET_WIDEST,
)

SHARD_WORK = 5_000_000  # floating-point operations of a shard, at least, times the bytes of a number: about 5 us
SHARD_EXAMPLES = 64  # at least: to add up gradients costs 2 / examples of making them
MOST_SHARDS = 8
FEW = 4  # examples
MANY = 16  # examples
ONE = 16  # elements kept for a single number: what follows begins at a cache line


@register_jitable
def padded(count):
    """Rounded up so that what follows begins at a cache line."""
    return (count + 15) // 16 * 16


@register_jitable
def shards_of(net, batch):
    """Parts of a batch with gradients of their own: a power of 2, as many as have enough work each, if the gradients
    take less memory than the batch's activations.
    """
    shards = 1
    while (
        shards < MOST_SHARDS
        and 2 * shards * SHARD_EXAMPLES <= batch
        and 2 * shards * SHARD_WORK <= batch * net[NET_FLOPS] * net[NET_SIZE]
        and 2 * shards * net[NET_PARAMETERS] <= batch * net[NET_ROW]
    ):
        shards *= 2
    return shards


@register_jitable
def capacity_of(net):
    """Examples for which the region of a shard has room: a block, or one and a small one."""
    return padded(net[NET_BLOCK] + net[NET_BLOCK] // 2)


@register_jitable
def few_of(net, batch):
    """1 for so few examples that transposing the weights costs more than their deltas without it, else 0."""
    if batch <= FEW and net[NET_DOTS] != 0:
        return 1
    return 0


@register_jitable
def halves_of(net, batch, shards):
    """1 for enough examples of a first layer with many weights: these stay with the worker that owns them, else 0."""
    if net[NET_HALVES] != 0 and batch >= MANY and shards == 1:
        return 1
    return 0


@register_jitable
def packed_size(net, batch):
    """For packed weights, which pay for many examples."""
    if batch < MANY:
        return 0
    return net[NET_PACKED]


@register_jitable
def half_size(net, batch, shards):
    """For the first layer's sums over the second half of the inputs."""
    return halves_of(net, batch, shards) * padded(batch) * net[HEADER + LAYER_STRIDE]


@register_jitable
def region_size(net, capacity):
    """For `capacity` examples: activations, gathered inputs, targets and weights."""
    return padded(capacity) * (net[NET_ROW] + net[NET_INPUT_STRIDE] + net[NET_TARGET_ROW] + 1)


@register_jitable
def penalties_size(net):
    """For a float64 for each row of weights, if there is a penalty."""
    if net[NET_PENALTY] == 0:
        return 0
    return padded(net[NET_ROWS]) * 8 // net[NET_SIZE]


@register_jitable
def shard_size(net):
    """For the gradient of a shard and, on a cache line of its own, its cost."""
    return padded(net[NET_PARAMETERS]) + ONE


@register_jitable
def training_size(net, batch, shards, workers):
    """For mini-batches of up to `batch` examples."""
    common = net[NET_WIDEST] + ONE + 2 * padded(batch) + net[NET_TRANSPOSED] + packed_size(net, batch)
    common += workers * (net[NET_SCRATCH] + net[NET_STRIP]) + penalties_size(net)
    if shards == 1:
        return common + half_size(net, batch, shards) + region_size(net, batch)
    return common + shards * shard_size(net) + workers * region_size(net, capacity_of(net))


@register_jitable
def divide(job, net, address):
    """Fill in the job's slots that point into the workspace at `address`."""
    size, batch, shards = net[NET_SIZE], padded(job[JOB_BATCH]), job[JOB_SHARDS]
    job[JOB_ZEROS] = address
    job[JOB_ONE] = job[JOB_ZEROS] + net[NET_WIDEST] * size
    job[JOB_LOSSES] = job[JOB_ONE] + ONE * size
    job[JOB_SPARE] = job[JOB_LOSSES] + batch * size
    job[JOB_WT] = job[JOB_SPARE] + batch * size
    job[JOB_PACKED] = job[JOB_WT] + net[NET_TRANSPOSED] * size
    job[JOB_SCRATCH] = job[JOB_PACKED] + packed_size(net, job[JOB_BATCH]) * size
    if packed_size(net, job[JOB_BATCH]) == 0:
        job[JOB_PACKED] = 0
    job[JOB_STRIPS] = job[JOB_SCRATCH] + job[JOB_WORKERS] * net[NET_SCRATCH] * size
    job[JOB_PENALTIES] = job[JOB_STRIPS] + job[JOB_WORKERS] * net[NET_STRIP] * size
    job[JOB_SHARD] = job[JOB_PENALTIES] + penalties_size(net) * size
    job[JOB_SHARD_SIZE] = shard_size(net)
    job[JOB_HALF] = job[JOB_SHARD]
    job[JOB_REGION] = job[JOB_HALF] + half_size(net, job[JOB_BATCH], shards) * size
    job[JOB_REGION_SIZE] = 0
    job[JOB_CAPACITY] = batch
    if shards > 1:
        job[JOB_REGION] += shards * job[JOB_SHARD_SIZE] * size
        job[JOB_REGION_SIZE] = region_size(net, capacity_of(net))
        job[JOB_CAPACITY] = capacity_of(net)


@register_jitable
def inference_size(net):
    """For predictions and costs of any number of examples."""
    return net[NET_WIDEST] + ONE + 2 * padded(net[NET_BLOCK]) + region_size(net, net[NET_BLOCK])


@register_jitable
def job_size(net):
    """For a job and the two numbers that it needs, at the beginning of a workspace."""
    return (JOB_SLOTS + 8) * 8 // net[NET_SIZE]


@register_jitable
def smoothed_size(net, rows):
    """For smoothed targets."""
    if net[NET_KEPT] == 0:
        return 0
    return padded(rows * net[NET_TARGET_ROW])


@register_jitable
def embedded_size(net, rows):
    """For one prediction or gradient of exactly `rows` examples, with nothing but a workspace at hand."""
    training = smoothed_size(net, rows) + training_size(net, rows, shards_of(net, rows), 1)
    return job_size(net) + max(inference_size(net), training)


def largest_size(net, rows):
    """For any number of examples up to `rows`."""
    training = max(training_size(net, rows, shards, 1) for shards in (1, shards_of(net, rows)))
    return job_size(net) + max(inference_size(net), smoothed_size(net, rows) + training)
