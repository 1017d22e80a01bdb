"""The adapter to mlx-lm: importing parts of it, which names of it are used, and which of its code computes a model."""
