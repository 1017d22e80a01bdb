"""Anthropic's API, `/v1/messages`; code shared with the other APIs is one folder up."""
