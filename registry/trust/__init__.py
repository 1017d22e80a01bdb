"""Keys, signatures, the evidence attached to an artifact, and the trust policy that requires it."""
