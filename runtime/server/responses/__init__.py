"""Responses of all APIs: their encodings, streams, and the format of errors in both."""
