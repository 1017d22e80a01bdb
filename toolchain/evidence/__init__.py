"""What is said of a build and signed: provenance, bill of materials, gate results."""
