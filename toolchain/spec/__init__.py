"""ModelSpec: the recipe as written, checked, and resolved into one spec per variant."""
