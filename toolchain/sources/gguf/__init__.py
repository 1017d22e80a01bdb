"""GGUF files as sources of models: their headers, and what is derived from them."""
