"""Starts, talks to, watches and ends the worker processes, one per loaded model; `runtime.residency` decides which."""
