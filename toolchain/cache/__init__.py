"""Traces (key to outputs), the rebuildable index and the history behind `why`."""
