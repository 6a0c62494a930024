"""A number that tells this process and those forked from it from all others, for compiled code that is kept on disk."""

import functools
import secrets

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

STAMP = "fastbp_process_stamp"
"""A symbol whose address is a random number: the linker puts it into code as it is loaded, also from a cache."""


@functools.cache
def process_stamp():
    """The number; not 0."""
    if not binding.address_of_symbol(STAMP):  # the process has one, however many copies of fastbp it imports
        binding.add_symbol(STAMP, secrets.randbits(62) | 1)
    return binding.address_of_symbol(STAMP)


process_stamp()  # before any code that refers to it is loaded


@intrinsic
def stamp_where_loaded(typingctx):
    """`process_stamp` of the process that runs the code, whichever has compiled it."""

    def codegen(context, builder, sig, args):
        symbol = builder.module.globals.get(STAMP) or ir.GlobalVariable(builder.module, ir.IntType(8), STAMP)
        return builder.ptrtoint(symbol, ir.IntType(64))

    return types.int64(), codegen
