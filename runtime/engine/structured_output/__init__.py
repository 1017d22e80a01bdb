"""What holds an answer to a response format or to calls of tools: JSON Schemas and grammars."""
