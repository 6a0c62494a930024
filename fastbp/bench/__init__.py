"""Training steps and predictions of fastbp and other libraries, each in a separate process: `fastbp bench`."""
