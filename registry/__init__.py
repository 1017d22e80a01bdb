"""The lowest layer: digests, references, the store, artifacts and registries. It uses neither MLX nor a server."""
