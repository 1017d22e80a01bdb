"""How many sequences are computed at once: the loop, the scheduler, chunked prefill, batches, KV caches, sampling."""
