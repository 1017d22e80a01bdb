"""Models of Ollama's registry, and of its store on this machine."""
