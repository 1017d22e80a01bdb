"""Builds, reads and verifies artifacts (a ModelPack manifest over plain files), and lays them out as folders."""
