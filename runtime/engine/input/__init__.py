"""From a request to the engine's input: the conversation, its prompt, defaults and options."""
