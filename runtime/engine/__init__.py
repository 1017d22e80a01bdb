"""How a loaded model answers: sampling, stops, streaming text."""
