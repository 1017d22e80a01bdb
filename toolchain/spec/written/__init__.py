"""The pydantic models of a recipe as written, one frozen model per form of ModelSpec v1."""
