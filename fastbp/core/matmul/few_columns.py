"""Few columns: the sum of matmul/gemm.py for a few outputs, where one vector holds sums of several rows of C.

Of up to half a vector of terms, each is repeated for the outputs of its row. Of more, the lanes of a vector go over the
terms, and each lane over the outputs in turn: with c columns, the power of 2 that has room for the outputs, a row takes
c circulant products. In NumPy, for a row s of R terms:

    r = np.arange(R)
    P = [s * V[r, (r + k) % c] for k in range(c)]              # lane r: a term of the output (r + k) mod c
    z = [sum(P[(j - i) % c][i::c].sum() for i in range(c)) for j in range(c)]

No element of S is moved and no lane is empty. The lanes of an output are added up at the end, by halves, together with
those of the next rows. All rows have the same bits, whatever their number.
"""

import functools

from fastbp.core.ir.control import VectorArray, repeat
from fastbp.core.ir.kernel import kernel, lanes_of, wide_vectors
from fastbp.core.ir.packed_rows import PackedRows
from fastbp.core.ir.shuffles import pick, sum_each, transposed
from fastbp.core.ir.traced import multiply_add, procedure, sum_by_halves
from fastbp.core.matmul.forms import RECOMPUTED
from fastbp.core.matmul.gemm import panel_signature
from fastbp.core.matmul.microkernel import epilogue_of

UNROLLED = 4
"""Vectors of terms that are not a loop."""


def repeated_terms(packed, n_in, init, V, M):
    """(pointers to rows of S) -> init + Σ_r S_r V_r, of at most half a vector of terms."""
    lanes, c = packed.lanes, packed.columns
    start, terms = packed.repeated(init), [packed.repeated(V + r * packed.width) for r in range(n_in)]

    def sums(s_rows):
        blocks, z = transposed([s.load(lanes, n_in) for s in s_rows], c), start
        for r, v_r in enumerate(terms):
            s_r = pick(blocks[r // c], [i // c * c + r % c for i in range(lanes)])
            z = multiply_add(s_r, v_r, z)
        return z

    return sums


def circulant(packed, n_in, init, V, M):
    """(pointers to rows of S) -> init + Σ_r S_r V_r, of any number of terms."""
    lanes, c, start = packed.lanes, packed.columns, packed.repeated(init)
    zero = start.constant(0.0)
    kept = VectorArray(zero, -(-n_in // lanes) * c) if c > RECOMPUTED else None

    def places(r):
        return [r // lanes * c + k for k in range(c)]

    def keep(r, count, _):
        for at, diagonal in zip(places(r), diagonals(r, count, packed, V, zero), strict=True):
            kept[at] = diagonal

    if kept is not None:
        each_vector(n_in, lanes, M, keep, ())

    def sums(s_rows):
        s_rows = list(s_rows)

        def add_products(r, count, products):
            """P_k + S_r V[r, (r + k) mod c], of each row."""
            v = [kept[at] for at in places(r)] if kept is not None else list(diagonals(r, count, packed, V, zero))
            return [
                [multiply_add(s, v_k, P_k) for v_k, P_k in zip(v, P, strict=True)]
                for s, P in zip(((s_m + r).load(lanes, count) for s_m in s_rows), products, strict=True)
            ]

        products = each_vector(n_in, lanes, M, add_products, [[zero] * c] * packed.rows)
        return start + sum_each([by_output(P, c, lanes) for P in products], c)

    return sums


def each_vector(n_in, lanes, index, function, state):
    """state = function(first term, terms, state) for all vectors of terms; returns the last. index: an Integer."""
    whole = n_in // lanes * lanes
    if n_in <= UNROLLED * lanes:
        for r in range(0, whole, lanes):
            state = function(index.like(r), lanes, state)
    else:
        state = repeat(index.like(whole), lambda r, state: function(r, lanes, state), state, step=lanes)
    return function(index.like(whole), n_in - whole, state) if whole < n_in else state


def diagonals(r, count, packed, V, zero):
    """V[r + i, (i + k) mod c] in lane i < count of vector k, from rows without gaps."""
    lanes, n_out, V = packed.lanes, packed.width, V + r * packed.width
    starts = range(0, count * n_out, lanes)
    weights = [(V + at).load(lanes, count * n_out - at) for at in starts]
    for k in range(packed.columns):
        outputs = [(i + k) % packed.columns for i in range(lanes)]
        wanted = [i * n_out + j if i < count and j < n_out else -1 for i, j in enumerate(outputs)]
        diagonal = zero
        for start, vector in zip(starts, weights, strict=True):
            take = [lanes + at - start if 0 <= at - start < lanes else i for i, at in enumerate(wanted)]
            diagonal = pick(diagonal, take, vector)
        yield diagonal


def by_output(P, c, lanes):
    """The sum of a row's products P_k, rotated so that each output has its own lanes: j mod c."""
    return sum_by_halves([pick(P_k, [i // c * c + (i - k) % c for i in range(lanes)]) for k, P_k in enumerate(P)])


def all_rows(lanes, n_in, n_out, epilogue, C, c_row, init, S, s_row, V, M):
    """All rows of C, packed several to a vector."""
    packed, apply = PackedRows(lanes, n_out), epilogue_of(epilogue)
    sums = (repeated_terms if 2 * n_in <= lanes else circulant)(packed, n_in, init, V, M)

    def compute(m, last):
        z = sums(packed.pointers(S + m * s_row, s_row, last))
        packed.store(apply(z, None), packed.pointers(C + m * c_row, c_row, last))

    packed.each(M, compute)


@functools.cache
def few_columns(size, n_in, n_out, epilogue="identity"):
    """As `gemm.panel`, for R = n_in and N = n_out, where i_row = 0, s_sum = 1 and V has no gaps."""
    compute = procedure(functools.partial(all_rows, lanes_of(size), n_in, n_out, epilogue))

    @kernel(panel_signature(size), size, n_in, n_out, epilogue)
    def few_columns(C, c_row, offset, init, i_row, S, s_row, s_sum, V, v_row, M, N, R):
        wide_vectors()
        compute(C, c_row, init, S, s_row, V, M)

    return few_columns
