"""Assembles the server from the lower layers: the store, the builder, and the HTTP server of the runtime."""
