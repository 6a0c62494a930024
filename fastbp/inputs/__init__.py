"""What comes in, checked and brought into the form that the core reads: arrays, sources, targets, names."""
