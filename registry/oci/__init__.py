"""OCI registries: a client of the distribution specification (`remote`), and push, pull and copy (`exchange`)."""
