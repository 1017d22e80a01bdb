"""Vectors of texts: inputs, batches, pooling."""
