"""A layer, forward and backward: activations, softmax, losses, dropout."""
