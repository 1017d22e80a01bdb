"""Artifacts to and from what other tools know: archives, layouts, plain folders, and recipes in other languages."""
