"""Parses streamed or finished answers into reasoning, text and tool calls."""
