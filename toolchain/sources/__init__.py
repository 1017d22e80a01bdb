"""Finds, fetches and verifies the files of sources: the Hub, folders, artifacts, and Ollama's registry."""
