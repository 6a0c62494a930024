"""Calls of the kernels that the tables name, with their arguments in groups.

A matrix is (pointer, elements between rows, …); region: (work, capacity, row, rows), the activations of `rows` examples
from `row` on; shape: (rows, n_out, stride) of a layer's activations.
"""

from fastbp.core.ir.kernel import INT
from fastbp.core.ir.views import calling

# --- layers/forward_backward.py ---

forward = calling("forward", with_table=True)
"""(net, (theta, packed, zeros), (x, x_row, summed), region, activate_last)."""

backward = calling("backward", with_table=True)
"""(net, (theta, wt, transposed, zeros), (costs, spare), (y, weights, w_row, scale), region)."""

sums = calling("sums", with_table=True)
"""(net, layer, (dw, add), (zeros, scratch), (x, x_row), (work, capacity, count), (low, high))."""

# --- one layer ---

activate = calling("forward")
"""(layer, a, z, shape): see layers/activation_kernels.py."""

derivative = calling("backward")
"""(layer, dz, z, a, da, shape): dz = σ'(z) da."""

loss = calling("loss")
"""(net, d, (costs, spare), a, (y, weights, w_row), shape, scale): see layers/loss.py."""

factors = calling("factors", with_table=True)
"""(net, (job, epoch, position), region): see layers/dropout.py."""

drop = calling("drop")
"""(net, out, x, factors, (rows, stride)): see layers/dropout.py."""

# --- layers/scaling.py ---

standardize = calling("standardize", with_table=True)
"""(net, (out, o_row), (x, x_row), rows, (low, high))."""

standardize_targets = calling("standardize_targets", with_table=True)
"""(net, out, (y, order), rows)."""

restore = calling("restore", with_table=True)
"""(net, (out, o_row), (a, a_row), rows)."""

multiply = calling("multiply", with_table=True)
"""(net, (out, o_row), (x, x_row), rows, number): by a vector of the scaling."""

multiply_derivatives = calling("multiply_derivatives", with_table=True)
"""(net, out, rows, order): to raw units."""

# --- derivatives/second_order.py, taylor.py and loss_second.py ---

second = calling("second")
"""(layer, out, (z, a), (z', a'), (u, u'), shape): σ''(z) z' u + σ'(z) u'."""

bend = calling("bend")
"""(layer, out, (z, a), (z', a'), u, shape): adds σ''(z) z' u."""

taylor = calling("taylor")
"""(layer, (dz, dz', dz''), (z, a), (z', z''), (da, da', da''), shape)."""

loss_second = calling("loss_second")
"""(net, out, (a, a'), (y, weights, w_row), shape, scale)."""

loss_convex = calling("loss_convex")
"""As loss_second, where it is not negative."""

# --- the update ---

update = calling("update", result=INT)
"""(job, (theta, gradient, moments, size), (begin, end, biases), settings): see step/update.py."""

# --- matrices ---

dense = calling("dense")
"""(net, panels, (C, c_row, offset), (init, i_row), (S, s_row, s_sum), (V, v_row), (M, N, R)): see matmul/gemm.py."""

packed_dense = calling("packed_dense")
"""(net, panels, (C, c_row), init, (S, s_row), (packed, K, first), (M, N, R)): see matmul/packed_weights.py."""

few_rows = calling("few_rows")
"""(net, (C, c_row), (init, i_row), (S, s_row), (V, v_row), (M, N, R)): see matmul/few_rows.py."""

transpose = calling("transpose")
"""(net, (out, o_row), (x, x_row), (rows, columns)): see matmul/transpose.py."""

pack = calling("pack")
"""(net, packed, w, (n_in, n_out), (low, high)): see matmul/packed_weights.py."""
