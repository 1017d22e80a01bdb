"""Structured output: constrains answers to response formats or tool calls, with JSON Schemas and grammars."""
