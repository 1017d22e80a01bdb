"""ModelSpec.lock: every source of a recipe pinned by digest, with its tensor tables."""
