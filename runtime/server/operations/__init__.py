"""The routes for those who operate the server: health checks, metrics, and the OpenAPI document."""
