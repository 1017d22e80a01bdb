"""Artifacts: a ModelPack manifest over plain files, built, read, verified and laid out as a folder."""
