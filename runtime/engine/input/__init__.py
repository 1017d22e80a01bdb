"""From what a request says to what the engine takes: the conversation, its prompt, defaults and options."""
