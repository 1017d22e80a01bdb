"""OpenAI's API, below `/v1`; code shared with the other APIs is one folder up."""
