"""The stream of build events, and the sinks that display or record it."""
