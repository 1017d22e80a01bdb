"""What is asked of a loaded model and what it says, as plain data. How that is computed, sent or shown: elsewhere."""
