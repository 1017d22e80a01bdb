"""Reads ModelSpec recipes: parses and validates them, and resolves them to one spec per variant."""
