"""Where source files come from: the Hub, a local folder, an artifact in the store."""
