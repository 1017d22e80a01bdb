"""Ollama's native API, below `/api`; code shared with the other APIs is one folder up."""
