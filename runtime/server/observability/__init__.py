"""Health checks, metrics and logs for those who operate a server."""
