"""Floor 3: recipe to lock to graph to cached steps to artifact. No HTTP serving here."""
