"""Schedules and executes actions, in threads or worker processes."""
