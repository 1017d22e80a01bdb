"""Makes, reads and checks ModelSpec.lock, which pins every source of a recipe by digest, with its tensor tables."""
