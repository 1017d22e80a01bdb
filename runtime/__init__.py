"""Floor 2: an artifact becomes a loaded model that answers. No building here."""
