"""The cache of a home: traces (key to outputs), the remote cache, retention, and the history that `why` reads."""
