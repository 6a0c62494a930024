"""The compiled core. Read reference.py first: the sums index by index. The folders do the same fast, from the top down:

step, layers, matmul: what the workers of a step, a layer and a sum do; formulas: what is computed; ir: LLVM, alone.
"""
