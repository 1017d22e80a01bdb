"""Reads models of Ollama's registry and of Ollama's local store."""
