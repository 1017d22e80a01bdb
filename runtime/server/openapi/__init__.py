"""What the server tells of its own routes, at `/openapi.json`, put together from what each API tells."""
