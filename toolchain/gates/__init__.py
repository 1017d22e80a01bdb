"""Tests that an artifact must pass before a tag moves."""
