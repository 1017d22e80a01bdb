"""Anthropic's API, `/v1/messages`. What it has in common with the other APIs lies one folder up."""
