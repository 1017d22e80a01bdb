"""Request bodies: read within limits, parsed as JSON, and validated; which fields they have is said by each API."""
