"""Types that all of mlxbuild uses: digests, references, errors, JSON and sizes. Nothing here uses a store."""
