"""Pushes, pulls and copies whole artifacts between the store and registries, by means of `remote`."""
