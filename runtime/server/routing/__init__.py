"""The OpenAPI document of the server's routes at `/openapi.json`, assembled from the operations of each API."""
