"""The slots of the int64 tables through which compiled code finds its way: the network table and the job.

Every entry is a number of elements, an offset into one of the vectors in elements, or the address of a kernel; some
hold the bits of a float64.
"""

# --- the network table: a header, then LAYER_SLOTS entries for each layer -----------------------------------------

VERSION = 0x66617374627001  # "fastbp" and the layout of the slots up to NET_PUBLIC, which users' compiled code reads

(
    NET_VERSION,
    NET_LENGTH,  # of the table
    NET_SIZE,  # bytes of one number
    NET_INPUTS,
    NET_OUTPUTS,
    NET_PARAMETERS,
    NET_TARGETS,  # numbers of a caller's y for one example
    NET_NEEDED,  # address: the workspace that an entry point needs
    NET_PREDICT,
    NET_GRADIENT,
    NET_PROCESS,  # the stamp of the process in which the addresses hold; up to here for users' compiled code
    NET_LAYERS,
    NET_WIDEST,  # elements of the zeros that a kernel may take as init
    NET_TRANSPOSED,  # elements of the transposed weights of all layers above the first
    NET_SCRATCH,  # elements of scratch for one worker
    NET_STRIP,  # elements of the longest strip: see LAYER_STRIP
    NET_ROW,  # elements of z, a, dz (and da, and dropout's two) of all layers for one example
    NET_INPUT_STRIDE,  # elements between the rows of gathered inputs
    NET_BLOCK,  # examples that pass through all layers together
    NET_FLOPS,  # floating-point operations of a training step, for one example
    NET_MEAN,  # 1: the cost is the weighted average, 0: the sum
    NET_FUSED,  # 1: the loss kernel takes z of the last layer and gives dz; 0: it takes a and gives da
    NET_DENSE,
    NET_PANELS,  # and the five after it: the panel of whole vectors, the tails of 1, 2, … vectors, one for one row or 0
    _,
    _,
    _,
    _,
    _,
    NET_DOTS,  # for the deltas of a few examples; 0: the weights are transposed for any number
    NET_TRANSPOSE,
    NET_LOSS,
    NET_FORWARD,
    NET_BACKWARD,
    NET_SUMS,
    NET_FACTORS,  # of dropout: 0 without
    NET_DROP,
    NET_HALVES,  # 0 unless the first layer has many weights
    NET_EXAMPLES,
    NET_GRADIENT_SHARE,
    NET_UPDATE_SHARE,
    NET_LEARN_SHARE,
    NET_TRAIN,
    NET_ROWS,  # of weights and biases: a row holds what all neurons of a layer have from one input
    NET_PENALTY,  # 0 without l1 and l2
    NET_L1,  # float64: see `number_at`
    NET_L2,  # float64
    NET_TARGET_ROW,  # numbers of y for one example, as the loss's kernel takes them
    NET_CLASSES,  # 1: a caller's y holds class indices, which become rows of smoothed targets
    NET_KEPT,  # float64: the factor of each target in label smoothing, 1 - ε; 0 without
    NET_SPREAD,  # float64: what is added to it, ε / K
    NET_PACKED,  # elements of the packed weights of all layers that have them: see matmul/packed_weights.py
    NET_PACK,
    NET_PACKED_DENSE,
    HEADER,
) = range(55)

(
    LAYER_IN,
    LAYER_OUT,
    LAYER_W,  # offset in theta
    LAYER_B,  # offset in theta, -1 without biases
    LAYER_STRIDE,  # elements between the rows of z, a, dz
    LAYER_Z,  # offsets in the activations, for one row; equal ones share their memory
    LAYER_A,
    LAYER_DZ,
    LAYER_DA,
    LAYER_DROPPED,  # what the next layer reads: a after dropout; LAYER_A without
    LAYER_FACTORS,  # of dropout
    LAYER_DROPOUT,  # the fraction of dropped units in steps of 2^-32; or 0
    LAYER_WT,  # offset in the transposed weights; not used of the first layer
    LAYER_PACKED,  # offset in the packed weights, -1 without
    LAYER_UNIT,  # rows of weights that are not divided among workers
    LAYER_STRIP,  # rows whose gradient is made and used before that of the next ones
    LAYER_TURNED,  # 1: their sums have their lanes over k
    LAYER_PANELS,  # of the forward sum, as NET_PANELS
    _,
    _,
    _,
    _,
    _,
    LAYER_ACTIVATED,  # 1: these make a, not z
    LAYER_DELTAS,  # panels of the deltas below, as NET_PANELS
    _,
    _,
    _,
    _,
    _,
    LAYER_SLOPED,  # 1: these make dz, not da
    LAYER_SUMS,  # panels of the weights' gradient, with that of the biases unless they are turned, as NET_PANELS
    _,
    _,
    _,
    _,
    _,
    LAYER_FORWARD,
    LAYER_BACKWARD,
    LAYER_SLOTS,
) = range(40)

# --- the job of a team: what to train, on what, and where its workers meet -----------------------------------------

(
    JOB_NET,
    JOB_THETA,
    JOB_GRADIENT,
    JOB_MOMENTS,
    JOB_SETTINGS,  # float64 numbers of the optimizer, a row for each mini-batch
    JOB_SETTINGS_ROW,  # numbers in a row
    JOB_UPDATE,  # address of the update kernel; 0: only the gradient is wanted
    JOB_X,
    JOB_Y,
    JOB_WEIGHTS,  # address, or 0
    JOB_ORDER,  # address of the row numbers, epoch after epoch, or 0: rows in their own order
    JOB_ROWS,  # examples in an epoch
    JOB_BATCH,
    JOB_FIRST,  # number of the first mini-batch, counted from the first epoch in order
    JOB_STEPS,  # mini-batches to run
    JOB_TOTALS,  # float64: the sum of weights of each mini-batch
    JOB_COSTS,  # float64: the cost of each mini-batch, made by the workers
    JOB_ZEROS,  # from here on, parts of the workspace: see workspace.py
    JOB_ONE,
    JOB_LOSSES,  # of the mini-batch's examples
    JOB_SPARE,
    JOB_WT,
    JOB_PACKED,  # 0 for few examples
    JOB_SCRATCH,  # of the first worker, NET_SCRATCH elements each
    JOB_SHARDS,  # parts of a batch with a gradient of their own; 1: the rows of the weights are divided instead
    JOB_SHARD,  # the first shard's gradient
    JOB_SHARD_SIZE,
    JOB_REGION,
    JOB_REGION_SIZE,  # between the regions of two workers; 0 without shards
    JOB_CAPACITY,  # examples in a region
    JOB_WORKERS,
    JOB_STOP,  # not 0, set by the caller: come back soon
    JOB_SLEEP,  # address of usleep
) = range(33)
JOB_ARRIVED = 40  # arrivals at all meetings so far; on a cache line of its own, which all workers write
JOB_DONE = 48  # set by the first worker: mini-batches of all runs; on a cache line of its own, too
JOB_BASE = 49  # mini-batches of the runs before this one: JOB_DONE as it began
JOB_OUTCOME = 56  # and the two after it: an outcome of the examples, of the sums and of the update
JOB_FEW = 59  # 1: so few examples in a mini-batch that the weights are not transposed
JOB_HALVES = 60  # 1: the first layer's sums are made in halves, by the workers that own the weights
JOB_HALF = 61  # part of the workspace: the second halves
JOB_SEED = 62  # of dropout
JOB_EPOCH = 63  # the first epoch in order, counted over the model's life
JOB_NUMBERS = 64  # address of the examples' row numbers in the user's X, in order, or 0: their places; for dropout
JOB_STRIPS = 65  # part of the workspace: the gradient of a strip of the first worker, NET_STRIP elements each
JOB_PENALTIES = 66  # part of the workspace, float64: what the penalty is in each row of weights
JOB_CLIP_NORM = 67  # float64
JOB_SQUARES = 68  # float64: Σ g² of each row of the gradient
JOB_SQUARE = 69  # address of the kernel that makes them; 0: the gradient is not clipped
JOB_CLIP = 70
JOB_ONLINE = (
    71  # address of the kernel after which theta may change as the gradient is made, or 0: see update_in_place.py
)
JOB_DIRECT = 72  # set by the first worker: 1 if it does so in this step
JOB_CALLS = 73  # address of the helpers' lines, for those who stand by between runs: see parked_workers.py
JOB_SLOTS = 80

COMPLETE, STOPPED, DIVERGED = range(3)

STOP_TEAM, STOP_FOR_GOOD = (
    1,
    2,
)  # in JOB_STOP: the workers that have begun, as others cannot; the run, as the caller asks

AFTER_EXAMPLES, AFTER_SUMS, AFTER_UPDATE = range(3)  # the outcomes, from JOB_OUTCOME on
