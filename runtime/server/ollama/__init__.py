"""Ollama's native API, below `/api`."""
