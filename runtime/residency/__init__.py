"""Decides which models are in memory, and which is loaded or unloaded next; `runtime.runner` runs them."""
