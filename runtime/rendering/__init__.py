"""Chat templates, rendered in a process of their own: it can be ended while it works, and nothing else can."""
