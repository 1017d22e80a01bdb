"""Embeddings: from texts to vectors, by input, batch and pooling."""
