"""Whole artifacts on their way between the store and registries. How one blob or manifest moves lies in `remote`."""
