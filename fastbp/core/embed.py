"""What becomes part of the user's own compiled code: data pointers, and the check that a table fits."""

from numba import types
from numba.extending import intrinsic, register_jitable

from .table import HEADER, NET_SIZE, NET_VERSION, VERSION


@intrinsic
def data_of(typingctx, array):
    """Pointer to the array's first element, whether the array is read-only or not."""

    def codegen(context, builder, sig, args):
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@register_jitable
def check_table(net, theta):
    """ValueError unless net is a table of this version for theta's dtype."""
    if net.size < HEADER or net[NET_VERSION] != VERSION:
        raise ValueError("fastbp.jit: net must come from model.compiled() of the fastbp that compiled this function")
    if net[NET_SIZE] != theta.itemsize:
        raise ValueError("fastbp.jit: theta must have the model's dtype")
