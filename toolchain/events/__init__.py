"""One stream of build events and the consumers that show or keep it."""
