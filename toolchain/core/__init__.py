"""The core data types of the toolchain: actions and their keys, steps, and locks."""
