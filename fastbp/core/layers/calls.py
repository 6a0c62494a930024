"""The products of matrices that the network table names; a matrix is (pointer, elements between rows, …)."""

from fastbp.core.ir.views import calling

dense = calling("dense")
"""(net, panels, (C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R)): see matmul/gemm.py."""

packed_dense = calling("packed_dense")
"""(net, panels, (C, c_row), init, (S, s_row), (packed, K, first), (M, N, R)): see matmul/packed_weights.py."""

few_rows = calling("few_rows")
"""(net, (C, c_row), (init, i_row), (S, s_row), (V, v_row), (M, N, R)): see matmul/few_rows.py."""
