"""What is in a finished or streamed text: thinking, answer and tool calls."""
