"""Metrics and logs for those who operate a server; the routes that show them are in `operations`."""
