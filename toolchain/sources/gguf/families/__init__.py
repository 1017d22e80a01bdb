"""The supported model families in GGUF files: how each maps metadata to config.json, and names of tensors."""
