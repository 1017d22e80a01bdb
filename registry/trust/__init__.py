"""Keys, signatures, evidence that belongs to an artifact, and the policy that asks for it."""
