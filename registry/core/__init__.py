"""What all of mlxbuild speaks of: digests, references, errors, JSON, sizes. Nothing here reads a store or a network."""
