"""How much memory a step needs and how it is divided: plain functions, called from Python and from compiled code.

A workspace for training: zeros (NET_WIDEST), a one, costs and spare numbers of the mini-batch, the transposed
weights, the shards' gradients, then a region for all examples of the mini-batch or, with shards, a region for one
block of each worker. A region holds the activations and the gathered inputs, targets and weights. All in elements.
"""

from numba.extending import register_jitable

from .table import (
    JOB_SLOTS,
    NET_BLOCK,
    NET_INPUT_STRIDE,
    NET_PARAMETERS,
    NET_ROW,
    NET_SIZE,
    NET_TARGETS,
    NET_TRANSPOSED,
    NET_WIDEST,
)

ONE = 16  # elements kept for the one: what follows begins at a cache line


@register_jitable
def padded(count):
    """Rounded up so that what follows begins at a cache line."""
    return (count + 15) // 16 * 16


@register_jitable
def shards_of(net, batch):
    """Parts of a batch with gradients of their own: if these take less memory than the batch's activations."""
    shards = min(8, batch // 256)
    if batch >= 1024 and shards * net[NET_PARAMETERS] <= batch * net[NET_ROW]:
        return shards
    return 1


@register_jitable
def region_size(net, capacity):
    """For `capacity` examples: activations, gathered inputs, targets and weights."""
    return padded(capacity) * (net[NET_ROW] + net[NET_INPUT_STRIDE] + net[NET_TARGETS] + 1)


@register_jitable
def training_size(net, batch, shards, workers):
    """For mini-batches of up to `batch` examples."""
    common = net[NET_WIDEST] + ONE + 2 * padded(batch) + net[NET_TRANSPOSED]
    if shards == 1:
        return common + region_size(net, batch)
    return common + shards * padded(net[NET_PARAMETERS]) + workers * region_size(net, net[NET_BLOCK])


@register_jitable
def inference_size(net):
    """For predictions and costs of any number of examples."""
    return net[NET_WIDEST] + ONE + 2 * padded(net[NET_BLOCK]) + region_size(net, net[NET_BLOCK])


@register_jitable
def job_size(net):
    """For a job and the two numbers that it returns, at the beginning of a workspace."""
    return (JOB_SLOTS + 8) * 8 // net[NET_SIZE]


@register_jitable
def embedded_size(net, rows):
    """For one prediction or gradient of exactly `rows` examples, with nothing but a workspace at hand."""
    return job_size(net) + max(inference_size(net), training_size(net, rows, shards_of(net, rows), 1))


@register_jitable
def largest_size(net, rows):
    """For any number of examples up to `rows`."""
    return job_size(net) + max(
        inference_size(net), training_size(net, rows, 1, 1), training_size(net, rows, min(8, rows // 256), 1)
    )
