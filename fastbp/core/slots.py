"""The int64 tables through which compiled code finds its way: the network table, its layers, and the job.

Each field is a number of elements, an offset into one of the vectors in elements, an address, or a float64. Compiled
code reads `net.inputs`, `layer.n_in`, `job.batch`; Python reads array[Net.inputs]. See ir/views.py.
"""

from typing import Annotated

from numba.core import types

from fastbp.core.ir.views import Doubles, Number, Panels, Real, Slot, Table, View, viewing

VERSION = 0x66617374627002  # "fastbp" and what users' compiled code reads: up to Net.derivatives, Derivatives


class Net(Table):
    """The network table: this header, then a `Layer` for each layer."""

    version: Number
    length: Number  # of the table
    size: Number  # bytes of one number
    inputs: Number
    outputs: Number
    parameters: Number
    targets: Number  # numbers of a caller's y for one example
    needed: Number  # address: the workspace that an entry point needs
    predict: Number
    gradient: Number
    process: Number  # the stamp of the process in which the addresses hold
    derivatives: Number  # slots from here to the `Derivatives`, 0 without; up to here for users' compiled code
    layers: Number
    widest: Number  # elements of the zeros that a kernel may take as init
    transposed: Number  # elements of the transposed weights of all layers above the first
    scratch: Number  # elements of scratch for one worker
    strip: Number  # elements of the longest strip: see Layer.strip
    row: Number  # elements of z, a, dz (and da, and dropout's two) of all layers for one example
    input_stride: Number  # elements between the rows of gathered inputs
    block: Number  # examples that pass through all layers together
    flops: Number  # floating-point operations of a training step, for one example
    mean: Number  # 1: the cost is the weighted average, 0: the sum
    fused: Number  # 1: the loss kernel takes z of the last layer and gives dz; 0: it takes a and gives da
    dense: Number
    panels: Panels  # the panel of whole vectors, the tails of 1, 2, … vectors, one for one row or 0
    few_rows: Number  # for the deltas of a few examples; 0: the weights are transposed for any number
    transpose: Number
    loss: Number
    forward: Number
    backward: Number
    sums: Number
    factors: Number  # of dropout: 0 without
    drop: Number
    halves: Number  # 0 unless the first layer has many weights
    examples: Number
    gradient_share: Number
    update_share: Number
    gradient_and_update_share: Number
    train: Number
    rows: Number  # of weights and biases: a row holds what all neurons of a layer have from one input
    penalty: Number  # 0 without l1 and l2
    l1: Real
    l2: Real
    target_row: Number  # numbers of y for one example, as the loss's kernel takes them
    classes: Number  # 1: a caller's y holds class indices, which become rows of smoothed targets
    kept: Real  # the factor of each target in label smoothing, 1 - ε; 0 without
    spread: Real  # what is added to it, ε / K
    packed: Number  # elements of the packed weights of all layers that have them: see matmul/packed_weights.py
    pack: Number
    packed_dense: Number
    all_transposed: Number  # elements of the transposed weights of all layers, in a table for derivatives
    scaling: Number  # slots from here to the vectors of layers/scaling.py, 0 without
    standardize: Number
    standardize_targets: Number  # 0: the outputs are not scaled
    restore: Number  # 0: the outputs are not scaled
    multiply: Number  # for derivatives
    multiply_derivatives: Number
    lowest: Number  # the lowest layer that is not frozen: no deltas are made below it
    directions: Number  # the outputs, where derivatives are learned beside values; else 0
    loss_convex: Number  # as loss_second, not negative
    loss_second: Number  # da' of the loss, or dz' where it is fused; 0 where it is not asked for


class Layer(Table):
    """One layer of the network table."""

    n_in: Number
    n_out: Number
    w: Number  # offset in theta
    b: Number  # offset in theta, -1 without biases
    stride: Number  # elements between the rows of z, a, dz
    z: Number  # offsets in the activations, for one row; equal ones share their memory
    a: Number
    dz: Number
    da: Number
    dropped: Number  # what the next layer reads: a after dropout; that of a without
    factors: Number  # of dropout
    dropout: Number  # the fraction of dropped units in steps of 2^-32; or 0
    wt: Number  # offset in the transposed weights; not used of the first layer
    packed: Number  # offset in the packed weights, -1 without
    unit: Number  # rows of weights that are not divided among workers
    strip: Number  # rows whose gradient is made and used before that of the next ones
    lanes_over_k: Number  # 1: their sums have their lanes over the inputs k, not over the outputs j
    panels: Panels  # of the forward sum, as Net.panels
    fused_activation: Number  # 1: these make a, not z
    deltas: Panels  # of the deltas below, as Net.panels
    fused_derivative: Number  # 1: these make dz, not da
    sums: Panels  # of the weights' gradient, with that of the biases unless lanes_over_k, as Net.panels
    forward: Number
    backward: Number
    bend: Number  # where derivatives are learned: dz += σ''(z) z' da'; 0 for identity
    frozen: Number  # 1: training keeps its weights and biases; their gradient is 0
    second: Number  # of derivatives: σ''(z) z' da + σ'(z) da'; 0 where it is not asked for
    taylor: Number  # the adjoint of the Taylor coefficients up to order 2; 0 where it is not asked for


class Job(Table):
    """What a team trains, on what, and the state of its workers."""

    net: Annotated[int, Slot(View(Net))]
    theta: Number
    gradient: Number
    moments: Number
    settings: Doubles  # numbers of the optimizer, a row for each mini-batch
    settings_row: Number  # numbers in a row
    update: Number  # address of the update kernel; 0: only the gradient is wanted
    x: Number
    y: Number
    weights: Number  # address, or 0
    order: Number  # address of the row numbers, epoch after epoch, or 0: rows in their own order
    rows: Number  # examples in an epoch
    batch: Number
    first: Number  # number of the first mini-batch, counted from the first epoch in order
    steps: Number  # mini-batches to run
    totals: Doubles  # the sum of weights of each mini-batch
    costs: Doubles  # the cost of each mini-batch, made by the workers
    zeros: Number  # from here to `region`, parts of the workspace in the order of workspace.parts
    one: Number
    losses: Number  # of the mini-batch's examples
    spare: Number
    wt: Number
    packed: Number  # 0 for few examples
    scratch: Number  # of the first worker, Net.scratch elements each
    strips: Number  # the gradient of a strip of the first worker, Net.strip elements each
    penalties: Doubles  # what the penalty is in each row of weights
    shard: Number  # the first shard's gradient
    half: Number  # the second halves of the first layer's sums
    region: Number  # of the first worker
    shards: Number  # parts of a batch with separate gradients; 1: the rows of the weights are divided instead
    shard_size: Number
    region_size: Number  # between the regions of two workers; 0 without shards
    capacity: Number  # examples in a region
    workers: Number
    stop: Annotated[int, Slot(in_place=True)]  # not 0, set by the caller: come back soon
    sleep: Number  # address of usleep
    arrived: Annotated[int, Slot(in_place=True, new_line=True)]  # arrivals at all barriers so far; all workers write it
    done: Annotated[int, Slot(new_line=True)]  # mini-batches of all runs, set by the first worker
    base: Number  # mini-batches of the runs before this one: `done` as it began
    outcomes: Annotated[int, Slot(in_place=True, count=3, new_line=True)]  # of the examples, the gradient, the update
    few: Number  # 1: so few examples in a mini-batch that the weights are not transposed
    halves: Number  # 1: the first layer's sums are made in halves, by the workers that own the weights
    seed: Number  # of dropout
    epoch: Number  # the first epoch in order, counted over the model's life
    numbers: Number  # address of the examples' row numbers in the user's X, in order, or 0: their places; for dropout
    clip_norm: Real
    dy: Number  # address of the derivatives to learn, or 0
    derivative_weight: Real
    row_squares: Doubles  # Σ g² of each row of the gradient
    sum_squares: Number  # address of the kernel that makes them; 0: the gradient is not clipped
    clip: Number
    update_in_place: Number  # address of the kernel, or 0: see step/update_in_place.py
    in_place: Number  # set by the first worker: 1 if this step updates in place
    calls: Annotated[int, Slot(types.CPointer(types.int64))]  # the parked workers' lines: see parked_workers.py


class Derivatives(Table):
    """The entry points of derivatives, each 0 unless asked for; their own network table follows.

    An entry point takes the arrays of a call of fastbp.jit; its kernel is what Python calls as well.
    """

    needed: Number  # address: the workspace that an entry point needs
    of_cost: Number  # slots from here to the table for derivatives of the cost, which knows the frozen layers
    vjp: Number
    jvp: Number
    input_jacobian: Number
    input_hessian: Number
    parameter_jacobian: Number
    example_gradients: Number
    hessian_vector_product: Number
    gauss_newton_vector_product: Number
    taylor: Number
    taylor_vjp: Number
    apply_gradient: Number
    moments: Number  # vectors like theta that the update rule keeps
    settings: Number  # numbers of the update rule for one step
    kernels: Annotated[int, Slot(in_place=True, count=16)]  # of the entry points above, in their order
    directions: Annotated[int, Slot(in_place=True, count=16)]  # in the frame of each kernel
    orders: Annotated[int, Slot(in_place=True, count=16)]


class Frame(Table):
    """The workspace of a derivative: what it is of, and where its parts are. See derivatives/frame.py."""

    net: Annotated[int, Slot(View(Net))]
    theta: Number
    capacity: Number  # examples in `work`
    directions_capacity: Number  # rows in `order_1` and `order_2`: examples times directions
    few: Number  # 1: so few examples that the weights are not transposed
    lowest: Number  # the lowest layer that has deltas
    raw: Number  # 1: inputs, directions and outputs are in the caller's units, which differ from the network's
    x: Number  # the inputs of the examples, and the elements between two
    x_row: Number
    x_t: Number  # the directions in the inputs, and the elements between two
    x_t_row: Number
    zeros: Number  # from here on, parts of the workspace in the order of derivatives/frame.py:parts
    one: Number
    losses: Number
    spare: Number
    wt: Number  # transposed weights of all layers
    vt: Number  # transposed direction in theta
    scratch: Number
    partial: Number  # the gradient of one shard
    work: Number  # z, a, dz, da of all layers: the network's values
    order_1: Number  # the same of first derivatives along directions
    order_2: Number  # and of second ones
    inputs: Number  # scaled
    input_directions: Number  # scaled
    targets: Number  # scaled, or with smoothed labels


HEADER, LAYER_SLOTS = Net.slots, Layer.slots
JOB_SLOTS = (Job.slots + 7) // 8 * 8

NET, LAYER, JOB, FRAME = View(Net), View(Layer), View(Job), View(Frame)
DERIVATIVES = View(Derivatives)
FRAME_SLOTS = (Frame.slots + 7) // 8 * 8
layer_of = viewing(Layer, begin=HEADER, step=LAYER_SLOTS)
"""(net, l) -> layer l, counted from 0."""

COMPLETE, STOPPED, DIVERGED = range(3)

STOP_TEAM, STOP_FOR_GOOD = 1, 2
"""In Job.stop: the workers that have begun, as others cannot; the run, as the caller asks."""

AFTER_EXAMPLES, AFTER_GRADIENT, AFTER_UPDATE = range(3)
"""Places in Job.outcomes."""
