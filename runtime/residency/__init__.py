"""Which models are in memory, and whose turn it is. How one is run lives in `runtime.runner`."""
