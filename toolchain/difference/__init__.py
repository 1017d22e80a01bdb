"""Compares two artifacts: documents, texts, tokenizers and tensors."""
