"""Creates and checks the signed evidence of a build: provenance, bill of materials and gate results."""
