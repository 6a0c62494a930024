"""The sums of a layer over inputs, outputs and examples, for every shape."""
