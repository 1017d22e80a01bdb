"""The recipe as written: one frozen pydantic model per form of ModelSpec v1."""
