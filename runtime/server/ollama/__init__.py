"""Ollama's own API, below `/api`. What it has in common with the other APIs lies one folder up."""
