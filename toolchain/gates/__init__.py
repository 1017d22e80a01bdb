"""The gates, which are tests that an artifact must pass before a tag moves."""
