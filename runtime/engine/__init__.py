"""How a loaded model answers, in rooms: input, core, structured output, output, embedding."""
