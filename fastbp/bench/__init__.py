"""Training steps and predictions of fastbp beside other libraries', each in a separate process: `fastbp bench`."""
