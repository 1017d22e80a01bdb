"""The toolchain builds artifacts from recipes: it locks them and runs a graph of cached steps. It serves no HTTP."""
