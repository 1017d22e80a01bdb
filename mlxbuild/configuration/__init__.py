"""The server's settings, and where each of them comes from."""
