"""OpenAI's API, below `/v1`. What it has in common with the other APIs lies one folder up."""
