"""Floor 1: digests, references, the store, artifacts. No MLX and no HTTP serving here."""
