"""The workspace of a derivative: a `Frame`, which says of what and where, then its parts.

The parts `work`, `order_1` and `order_2` have the layout of activations: z, a, dz and da of all layers. work holds
those of the network; order_1 their derivatives along a direction, z', a', dz', da'; order_2 the second derivatives.
Where there are several directions, the examples follow one another for the first direction, then for the second, …
"""

import functools

from fastbp.core.ir.kernel import inline
from fastbp.core.ir.memory import address_of, floats_at
from fastbp.core.ir.views import viewing
from fastbp.core.slots import FRAME_SLOTS, Frame
from fastbp.core.workspace import ONE, for_tables, padded, sum_of

PARTS = Frame.zeros  # the first of the frame's fields that are parts of the workspace
frame_at = viewing(Frame)


@for_tables
def block_of(net, rows, directions):
    """Examples that pass through all layers together, each along so many directions."""
    return max(1, min(rows, net.block // directions))


@for_tables
def parts(net, rows, directions, orders):
    """The elements of each part, in the order of the frame's fields from `zeros` on."""
    block = block_of(net, rows, directions)
    order = padded(block * directions) * net.row
    return (
        net.widest,  # zeros
        ONE,  # one
        padded(block),  # losses
        padded(block),  # spare
        net.all_transposed,  # wt
        net.all_transposed if orders > 0 else 0,  # vt
        net.scratch,  # scratch
        padded(net.parameters),  # partial
        padded(block) * net.row,  # work
        order if orders > 0 else 0,  # order_1
        order if orders > 1 else 0,  # order_2
        padded(block) * net.input_stride if net.scaling != 0 else 0,  # inputs
        padded(block * directions) * net.input_stride if net.scaling != 0 else 0,  # input_directions
        padded(block) * net.target_row if net.standardize_targets != 0 or net.kept != 0 else 0,  # targets
    )


@for_tables
def frame_size(net, rows, directions, orders):
    """Elements of the workspace for up to `rows` examples, each along `directions` directions."""
    return (FRAME_SLOTS + 8) * 8 // net.size + sum_of(parts(net, rows, directions, orders))


@functools.cache
def opening(size):
    """(workspace, net, theta, rows, directions, orders, few) -> the frame, with its zeros and one, for `inline`."""

    @inline
    def open_frame(workspace, net, theta, rows, directions, orders, few):
        frame = frame_at(workspace, 0)
        block = block_of(net, rows, directions)
        frame.net, frame.theta = net, address_of(theta)
        frame.capacity, frame.directions_capacity = padded(block), padded(block * directions)
        frame.few, frame.lowest, frame.raw = few, net.lowest, int(net.scaling != 0)
        sizes, at = parts(net, rows, directions, orders), address_of(workspace) + (FRAME_SLOTS + 8) * 8
        for i in range(len(sizes)):
            frame[PARTS + i] = at
            at += sizes[i] * size
        zeros, one = floats_at(frame.zeros, size), floats_at(frame.one, size)
        for i in range(net.widest):
            zeros[i] = 0.0
        one[0] = 1.0
        return frame

    return open_frame
