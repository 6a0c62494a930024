"""Training steps and predictions of fastbp beside other libraries', each in a process of its own: `fastbp bench`."""
