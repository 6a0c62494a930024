"""Tables with named columns of any kind: reading, encoding, training, predicting and reporting."""
