"""The sum of dense.py for a few outputs: a vector holds the sums of several rows of C, side by side.

Rows of S are loaded whole and turned in blocks, so that each term's element of all these rows is at hand. The sums of a
few terms run in the same order as those of a panel, and give the same bits.
"""

import functools

from numba.core import cgutils, types
from numba.extending import intrinsic

from .abreast import Abreast
from .compile import kernel, lanes_of, wide_vectors
from .dense import panel_signature
from .memory import load_lanes
from .simd import INT64, constant, float_function
from .tile import visitor
from .transpose import emit_transposed
from .values import Lanes

MOST_OUTPUTS = 4
HELD = 24
"""Terms whose V may stay in registers, or on the stack, while rows go by."""


PARTS = 4
"""Sums of more terms are several, which do not wait for one another."""


def fits(n_out, size):
    """Whether the kernel is made for so many outputs."""
    return n_out <= min(MOST_OUTPUTS, lanes_of(size) // 2)


def add_products(abreast, totals, s_rows, terms):
    """Adds the products S[m, r] V[r, n] to the totals in turn; terms: V's rows, at most the lanes of them, repeated."""
    builder, columns, lanes = abreast.builder, abreast.columns, abreast.lanes
    multiply_add = float_function(builder, "fmuladd", abreast.vector.llvm, 3)
    mask = abreast.masked(abreast.vector, len(terms))
    rows = [load_lanes(builder, s, abreast.vector, *mask) for s in s_rows]
    blocks = emit_transposed(builder, rows, columns)
    for r, term in enumerate(terms):
        s = abreast.picked(blocks[r // columns], [i // columns * columns + r % columns for i in range(lanes)])
        total = totals[r % len(totals)]
        builder.store(builder.call(multiply_add, [s, term, builder.load(total)]), total)


def halved(builder, totals):
    """Their sum, by halves."""
    values = [builder.load(total) for total in totals]
    while len(values) > 1:
        values = [builder.fadd(*pair) for pair in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def all_rows(N, R, lanes, visit):
    """The loop over all rows of C, as a function of compiled code."""
    whole, parts = R // lanes * lanes, 1 if R <= HELD else PARTS

    @intrinsic
    def loop(typingctx, C, c_row, init, S, s_row, V, v_row, M):
        def codegen(context, builder, sig, args):
            C, c_row, init, S, s_row, V, v_row, M = args
            abreast = Abreast(builder, sig.args[0].dtype, lanes, N)
            start, zero = abreast.repeated(init), constant(abreast.vector.llvm, 0.0)
            totals = [cgutils.alloca_once_value(builder, zero) for _ in range(parts)]

            def terms_at(begin, count):
                rows = (builder.add(begin, INT64(r)) for r in range(count))
                return [abreast.repeated(builder.gep(V, [builder.mul(r, v_row)])) for r in rows]

            held = terms_at(INT64(0), R) if R <= HELD else None

            def some_rows(m, last):
                s, c = builder.gep(S, [builder.mul(m, s_row)]), builder.gep(C, [builder.mul(m, c_row)])
                s_rows = list(abreast.pointers(s, s_row, last))
                for total, value in zip(totals, [start] + [zero] * (parts - 1), strict=True):
                    builder.store(value, total)

                def add(begin, terms):
                    add_products(abreast, totals, [builder.gep(row, [begin]) for row in s_rows], terms)

                if held:
                    for begin in range(0, R, lanes):
                        add(INT64(begin), held[begin : begin + lanes])
                else:
                    with cgutils.for_range_slice(builder, INT64(0), INT64(whole), INT64(lanes), inc=True) as (r, _):
                        add(r, terms_at(r, lanes))
                    if whole < R:
                        add(INT64(whole), terms_at(INT64(whole), R - whole))
                value = visitor(visit)(Lanes(builder, halved(builder, totals)), None).value
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
