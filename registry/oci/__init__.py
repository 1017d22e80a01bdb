"""Registries of the OCI distribution specification: the client (`remote`), and moving whole artifacts (`exchange`)."""
