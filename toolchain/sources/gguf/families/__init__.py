"""The families of models that GGUF files are taken of: what each means by its metadata and calls its tensors."""
