"""Reads GGUF files as sources: their headers, and the documents that are derived from them."""
