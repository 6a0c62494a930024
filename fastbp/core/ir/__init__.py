"""Where LLVM is known: types, lanes, formulas as instructions, memory, atomics, kernels and their cache."""
