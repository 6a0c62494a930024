"""The sum of dense.py for a few outputs of a few inputs: a vector holds the sums of several rows of C, side by side.

Rows of S are loaded whole and turned in blocks, so that each term's element of all these rows is at hand. The sums run
in the same order as those of a panel, and give the same bits.
"""

import functools

from numba.core import types
from numba.extending import intrinsic

from .abreast import Abreast
from .compile import kernel, lanes_of, wide_vectors
from .dense import panel_signature
from .memory import load_lanes
from .simd import INT64, float_function
from .tile import visitor
from .transpose import emit_transposed
from .values import Lanes

MOST_OUTPUTS, MOST_INPUTS = 4, 23


def fits(n_in, n_out, size):
    """Whether the kernel is made for so many inputs and outputs."""
    return n_out <= min(MOST_OUTPUTS, lanes_of(size) // 2) and n_in <= MOST_INPUTS


def add_products(abreast, total, s_rows, terms):
    """total[m, n] + Σ_r S[m, r] V[r, n]; terms: V's rows, repeated."""
    builder, columns, lanes = abreast.builder, abreast.columns, abreast.lanes
    multiply_add = float_function(builder, "fmuladd", abreast.vector.llvm, 3)
    for begin in range(0, len(terms), lanes):
        mask = abreast.masked(abreast.vector, len(terms) - begin)
        rows = [load_lanes(builder, builder.gep(s, [INT64(begin)]), abreast.vector, *mask) for s in s_rows]
        blocks = emit_transposed(builder, rows, columns)
        for r, term in enumerate(terms[begin : begin + lanes]):
            s = abreast.picked(blocks[r // columns], [i // columns * columns + r % columns for i in range(lanes)])
            total = builder.call(multiply_add, [s, term, total])
    return total


def all_rows(N, R, lanes, visit):
    """The loop over all rows of C, as a function of compiled code."""

    @intrinsic
    def loop(typingctx, C, c_row, init, S, s_row, V, v_row, M):
        def codegen(context, builder, sig, args):
            C, c_row, init, S, s_row, V, v_row, M = args
            abreast = Abreast(builder, sig.args[0].dtype, lanes, N)
            terms = [abreast.repeated(builder.gep(V, [builder.mul(INT64(r), v_row)])) for r in range(R)]
            start = abreast.repeated(init)

            def some_rows(m, last):
                s, c = builder.gep(S, [builder.mul(m, s_row)]), builder.gep(C, [builder.mul(m, c_row)])
                total = add_products(abreast, start, list(abreast.pointers(s, s_row, last)), terms)
                value = visitor(visit)(Lanes(builder, total), None).value
                abreast.store(value, abreast.pointers(c, c_row, last))

            abreast.each(M, some_rows)
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(C, i64, init, S, i64, V, i64, i64), codegen

    return loop


@functools.cache
def narrow_panel(size, n_in, n_out, visit="identity"):
    """As `dense.panel`, for R = n_in and N = n_out, where i_row = 0 and s_sum = 1."""
    loop = all_rows(n_out, n_in, lanes_of(size), visit)

    @kernel(panel_signature(size), size, n_in, n_out, visit)
    def narrow_panel(C, c_row, beside, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        loop(C, c_row, init, S, s_row, V, v_row, M)

    return narrow_panel
