"""Puts the server together out of all floors: what it may run, and what builds for it. How it answers: the runtime."""
