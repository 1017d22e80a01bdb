"""The published JSON Schema of ModelSpec, and examples that it and pydantic must both accept or both reject."""
