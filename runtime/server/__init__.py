"""HTTP in front of loaded models. One folder for each API; building and computing are handed in or done elsewhere."""
